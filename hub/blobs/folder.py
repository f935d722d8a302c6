"""Blobs in a folder: `ab/abcdef...`, read-only, complete or absent."""

import os
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.core.files.storage import FileSystemStorage

from hub import faults
from hub.blobs.content import CHUNK, StoredObject

READ_ONLY = 0o444
SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class FolderBlobs(FileSystemStorage):
    """A file appears under its digest by rename, after its bytes and before its directory reached the
    disk.
    """

    def __init__(self, location: Path, temporary: Path) -> None:
        super().__init__(location=location)
        self.temporary = Path(temporary)

    def put(self, source: Path, sha256: str) -> None:
        target = self._file(sha256)
        if target.exists():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = self._beside(source, target)
        _flush(staged)
        faults.reach("upload.temp_synced")
        staged.chmod(READ_ONLY)
        staged.replace(target)
        faults.reach("upload.renamed")
        _flush(target.parent)
        _flush(target.parent.parent)

    def has(self, sha256: str) -> bool:
        return self._file(sha256).exists()

    def size_of(self, sha256: str) -> int:
        return self._file(sha256).stat().st_size

    def read(self, sha256: str, *, start: int, length: int) -> Iterator[bytes]:
        with self._file(sha256).open("rb") as file:
            file.seek(start)
            while length > 0 and (chunk := file.read(min(CHUNK, length))):
                length -= len(chunk)
                yield chunk

    def local_path(self, sha256: str) -> Path:
        path = self._file(sha256)
        if not path.exists():
            raise FileNotFoundError(path)
        return path

    def remove(self, sha256: str) -> None:
        self._file(sha256).unlink(missing_ok=True)

    def listing(self) -> Iterator[StoredObject]:
        for path in Path(self.location).glob("??/*"):
            if SHA256.match(path.name):
                facts = path.stat()
                yield StoredObject(path.name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))

    def is_writable(self) -> bool:
        probe = self.temporary / f"probe-{secrets.token_hex(8)}"
        try:
            probe.touch()
            probe.unlink()
        except OSError:
            return False
        return True

    def _file(self, sha256: str) -> Path:
        if not SHA256.match(sha256):
            raise FileNotFoundError(sha256)
        return Path(self.location) / sha256[:2] / sha256

    def _beside(self, source: Path, target: Path) -> Path:
        """The source itself where a rename is possible, else a copy in the temporary folder of this file
        system.
        """
        if source.stat().st_dev == target.parent.stat().st_dev:
            return source
        copy = self.temporary / f"copy-{secrets.token_hex(16)}"
        with source.open("rb") as original, copy.open("xb") as file:
            while chunk := original.read(CHUNK):
                file.write(chunk)
        return copy


def _flush(path: Path) -> None:
    """Bytes of a file, or names in a directory, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
