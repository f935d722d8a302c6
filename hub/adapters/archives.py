"""From an uploaded archive to files: the name decides what it is, and only plain, unambiguous archives are
read.
"""

from pathlib import Path
from typing import BinaryIO, Protocol

from django.conf import settings

from hub.adapters import tars, zips
from hub.adapters.staging import StagedFile
from hub.adapters.unpacking import Unpacked, refuse
from hub.errors import TooLarge


class Reader(Protocol):
    def __call__(self, file: BinaryIO, size: int, *, into: Unpacked) -> None: ...


READERS: dict[str, Reader] = {
    ".zip": zips.read_zip,
    ".tar.gz": tars.read_tar_gz,
    ".tgz": tars.read_tar_gz,
    ".tar": tars.read_tar,
}


def kind_of(name: str) -> str | None:
    """The suffix that makes a file an archive here, or None."""
    return next((suffix for suffix in READERS if name.lower().endswith(suffix)), None)


def unpack(file: BinaryIO, name: str, *, into: Path) -> list[StagedFile]:
    """The files of an archive, written into the empty folder `into`. Raises BadArchive, TooLarge,
    StorageFull.
    """
    kind = kind_of(name)
    if kind is None:
        raise refuse(
            "archive-is-what-its-name-says",
            file=name,
            found=f"a file called {name!r}",
            expected=f"a name that ends in {', '.join(READERS)}",
        )
    size = file.seek(0, 2)
    if size > settings.LIMITS.archive_bytes:
        raise TooLarge(f"The archive has {size:,} bytes; it may have {settings.LIMITS.archive_bytes:,}.")
    file.seek(0)
    unpacked = Unpacked(into)
    READERS[kind](file, size, into=unpacked)
    return unpacked.tree()
