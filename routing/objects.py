"""Where an index lives: objects named by their content and a few small documents, here as files in a folder.

An object appears whole or not at all, is on disk before its name is handed out, never changes, and is
compared with its name whenever it is read. Documents are the only things that are replaced, each in one step.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from routing.digests import digest_of, digest_of_file
from routing.errors import CorruptObject, MissingObject

DIGEST = re.compile(r"[0-9a-f]{64}")
READ_ONLY = 0o444


@runtime_checkable
class ObjectStore(Protocol):
    """What an index needs of a place to be kept in."""

    def put(self, content: bytes | Path) -> str:
        """Keep these bytes (or this file's) and return their digest; keeping them again changes nothing."""

    def read(self, digest: str) -> bytes:
        """The bytes of an object; MissingObject, or CorruptObject if they are not what the digest says."""

    def path(self, digest: str) -> Path:
        """A local file with the object's bytes, compared with the digest just now; errors as `read`."""

    def exists(self, digest: str) -> bool:
        """Whether there is an object of this name."""

    def delete(self, digest: str) -> None:
        """Forget an object; nothing happens if there is none."""

    def digests(self) -> Iterator[str]:
        """The names of all objects, in no order."""

    def read_document(self, name: str) -> bytes | None:
        """A document as it is now, None if there is none."""

    def write_document(self, name: str, content: bytes) -> None:
        """Replace a document in one step."""

    def create_document(self, name: str, content: bytes) -> bool:
        """Write a document that must not exist yet; False, and nothing written, if it does."""

    def children(self, folder: str) -> list[str]:
        """The names of the documents and folders directly inside `folder`, sorted."""


class FolderStore:
    """Objects and documents as files below one folder; safe for many writers and against SIGKILL."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scratch = root / "scratch"

    def put(self, content: bytes | Path) -> str:
        digest = digest_of_file(content) if isinstance(content, Path) else digest_of(content)
        final = self.place(digest)
        if final.is_file() and digest_of_file(final) == digest:
            return digest
        with self._written(content) as scratch:
            if (found := digest_of_file(scratch)) != digest:
                raise CorruptObject(digest, found)
            scratch.chmod(READ_ONLY)
            _make_folder(final.parent)
            scratch.replace(final)
            _sync_folder(final.parent)
        return digest

    def read(self, digest: str) -> bytes:
        try:
            content = self.place(digest).read_bytes()
        except FileNotFoundError:
            raise MissingObject(digest) from None
        if (found := digest_of(content)) != digest:
            raise CorruptObject(digest, found)
        return content

    def path(self, digest: str) -> Path:
        path = self.place(digest)
        try:
            found = digest_of_file(path)
        except FileNotFoundError:
            raise MissingObject(digest) from None
        if found != digest:
            raise CorruptObject(digest, found)
        return path

    def exists(self, digest: str) -> bool:
        return self.place(digest).is_file()

    def delete(self, digest: str) -> None:
        self.place(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        return (path.name for path in (self.root / "objects").glob("??/*"))

    def read_document(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write_document(self, name: str, content: bytes) -> None:
        final = self.root / name
        _make_folder(final.parent)
        with self._written(content) as scratch:
            scratch.replace(final)
        _sync_folder(final.parent)

    def create_document(self, name: str, content: bytes) -> bool:
        final = self.root / name
        _make_folder(final.parent)
        with self._written(content) as scratch:
            try:
                os.link(scratch, final)  # unlike a rename, it fails where something already is
            except FileExistsError:
                return False
        _sync_folder(final.parent)
        return True

    def children(self, folder: str) -> list[str]:
        try:
            return sorted(path.name for path in (self.root / folder).iterdir())
        except FileNotFoundError:
            return []

    def remove_leftovers(self, *, older_than: float) -> int:
        """Remove what writers that died `older_than` seconds ago left in scratch; how many files."""
        removed = 0
        for path in self.scratch.glob("*"):
            with contextlib.suppress(FileNotFoundError):  # it was moved to its place, or swept by another
                if path.stat().st_mtime < time.time() - older_than:
                    path.unlink()
                    removed += 1
        return removed

    def touch(self, digest: str) -> None:
        """Note, in its file, that an object is used now; MissingObject if there is none."""
        try:
            os.utime(self.place(digest))
        except FileNotFoundError:
            raise MissingObject(digest) from None
        except OSError:  # it can be read and not be changed: then it is as old as it is
            return

    def place(self, digest: str) -> Path:
        """Where an object's file is, if it is here; MissingObject for what is no digest."""
        require_digest(digest)
        return self.root / "objects" / digest[:2] / digest

    @contextlib.contextmanager
    def _written(self, content: bytes | Path) -> Iterator[Path]:
        """A scratch file with these bytes, already on disk; gone afterwards unless it was moved."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.scratch)
        scratch = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                if isinstance(content, Path):
                    with content.open("rb") as source:
                        shutil.copyfileobj(source, stream, 2**20)
                else:
                    stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)


def require_digest(digest: str) -> None:
    """A name that is no digest is no object, and above all no path."""
    if not DIGEST.fullmatch(digest):
        raise MissingObject(digest)


def _make_folder(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
