"""Keeping bytes: durable first, then a row, and the same bytes once."""

import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

from django.conf import settings
from django.core.files.storage import storages

from hub import faults
from hub.blobs import content, space
from hub.blobs.content import BlobStorage
from hub.blobs.models import Blob
from hub.errors import Invalid


def storage() -> BlobStorage:
    """Where the settings say that blobs are kept."""
    return cast("BlobStorage", storages["blobs"])


def store(stream: BinaryIO) -> Blob:
    """Keep the bytes of a stream. Raises StorageFull."""
    with scratch_file() as path:
        with path.open("xb") as file:
            for chunk in content.chunks(stream):
                file.write(chunk)
        return store_file(path)


def store_file(path: Path, *, expected: str = "") -> Blob:
    """Keep the bytes of a file, which may be moved away. When this returns, they survive a power cut.
    With an expected sha256, other bytes are not kept. Raises StorageFull, Invalid.

    The order matters against a garbage collection of the same bytes at the same moment: bytes, row, then a
    second
    look, because the collector removes both under a lock on the row.
    """
    names = content.names_of(path)
    if expected and names.sha256 != expected:
        raise Invalid(f"sha256 of what arrived is {names.sha256}, expected {expected}; please send it again")
    space.check_room_for(0)
    place = storage()
    kept = path.with_name(path.name + ".again")
    kept.hardlink_to(path)
    try:
        place.put(path, names.sha256)
        faults.reach("upload.before_blob_row")
        blob = _record(names)
        if not place.has(names.sha256):
            place.put(kept, names.sha256)
    finally:
        kept.unlink(missing_ok=True)
    return blob


def _record(names: content.Names) -> Blob:
    """In one statement, because a collector may take the row away, and another upload bring it back, between
    any two. A row that is there counts as new; one that a collector adopted knew no git_oid.
    """
    blob = Blob(sha256=names.sha256, size=names.size, git_oid=names.git_oid)
    Blob.objects.bulk_create(
        [blob],
        update_conflicts=True,
        unique_fields=["sha256"],
        update_fields=["size", "git_oid", "stored_at"],
    )
    return blob


def read(blob: Blob, *, start: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Bytes of a blob in chunks: `length` from `start`, or all of the rest."""
    return storage().read(blob.sha256, start=start, length=blob.size - start if length is None else length)


def local_path(sha256: str) -> Path:
    """A read-only file on this machine with these bytes (fetched and verified first where blobs live
    elsewhere).
    """
    return storage().local_path(sha256)


@contextmanager
def scratch_file() -> Iterator[Path]:
    """A path for a temporary file on the blobs' file system; the file is gone afterwards."""
    path = settings.TEMPORARY / f"scratch-{secrets.token_hex(16)}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sweep_temporary(older_than: timedelta) -> list[Path]:
    """Remove what interrupted uploads left behind. Returns what was removed."""
    removed = list(left_over(older_than))
    for path in removed:
        _remove(path)
    return removed


def left_over(older_than: timedelta) -> Iterator[Path]:
    """What has lain in the temporary folder for longer; uploads that end meanwhile take theirs away."""
    limit = time.time() - older_than.total_seconds()
    for path in settings.TEMPORARY.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < limit:
                yield path
