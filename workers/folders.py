"""Folders to work in, and a release's files put into one: plain copies, each verified against its digest."""

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from django.conf import settings

from hub.blobs import services as blobs
from hub.blobs.content import chunks

PREFIX = "work-"


class DamagedBlob(Exception):
    """Stored bytes are not the ones that were received."""


@contextmanager
def work_folder() -> Iterator[Path]:
    """A folder on the blobs' file system, gone afterwards; a killed worker's is swept."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=settings.TEMPORARY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep_work_folders(older_than: timedelta) -> None:
    """Remove what killed workers left behind."""
    limit = time.time() - older_than.total_seconds()
    for folder in Path(settings.TEMPORARY).glob(PREFIX + "*"):
        if folder.is_dir() and folder.stat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)


def lay_out(files: Mapping[str, str], folder: Path) -> None:
    """Copy blobs to their paths, {path: sha256}. Raises DamagedBlob; ValueError if a path leads out."""
    for path, sha256 in files.items():
        target = folder / path
        if not target.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{path!r} leads out of the folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_verified(sha256, target)


def _copy_verified(sha256: str, target: Path) -> None:
    digest = hashlib.sha256()
    with blobs.local_path(sha256).open("rb") as source, target.open("xb") as copy:
        for chunk in chunks(source):
            digest.update(chunk)
            copy.write(chunk)
    if digest.hexdigest() != sha256:
        raise DamagedBlob(f"blob {sha256} has the bytes of {digest.hexdigest()}")
