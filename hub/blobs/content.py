"""What every place for blobs can do, and how bytes get their two names."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Names:
    """The sha256 of some bytes, git's name for them, and how many there are."""

    sha256: str
    git_oid: str
    size: int


@dataclass(frozen=True)
class StoredObject:
    """A file as the storage lists it."""

    sha256: str
    size: int
    modified_at: datetime


class BlobStorage(Protocol):
    """A write-once place for bytes under their sha256. Implementations: a folder, a bucket."""

    def put(self, source: Path, sha256: str) -> None:
        """Make the bytes of `source` durable under their name; `source` may be moved. Nothing happens if they
        are there.
        """

    def has(self, sha256: str) -> bool: ...

    def size_of(self, sha256: str) -> int:
        """Raises FileNotFoundError."""

    def read(self, sha256: str, *, start: int, length: int) -> Iterator[bytes]:
        """`length` bytes from `start`, in chunks. Raises FileNotFoundError."""

    def local_path(self, sha256: str) -> Path:
        """A file on this machine with exactly these bytes, which nobody may write. Raises
        FileNotFoundError.
        """

    def remove(self, sha256: str) -> None: ...

    def listing(self) -> Iterator[StoredObject]: ...

    def is_writable(self) -> bool: ...


def names_of(path: Path) -> Names:
    """Both digests in one pass over the file."""
    size = path.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as file:
        for chunk in chunks(file):
            sha256.update(chunk)
            git.update(chunk)
    return Names(sha256=sha256.hexdigest(), git_oid=git.hexdigest(), size=size)


def chunks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file, a megabyte at a time."""
    while chunk := file.read(CHUNK):
        yield chunk
