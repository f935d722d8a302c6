"""Bodies of any size, read a piece at a time: the web process stays as small as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.http import HttpRequest

from hub import faults
from hub.adapters.uploading import check_whole
from hub.blobs import services as blobs
from hub.blobs import space
from hub.errors import TooLarge

PIECE = 256 * 1024


@contextmanager
def received(request: HttpRequest, *, most: int) -> Iterator[Path]:
    """The body as a file on disk, gone afterwards unless somebody took it. Raises TooLarge, StorageFull,
    Invalid.
    """
    declared = int(request.headers.get("Content-Length") or 0)
    check_size(declared, most)
    space.check_room_for(declared)
    with blobs.scratch_file() as path:
        with path.open("xb") as file:
            for piece in pieces(request, most=most):
                file.write(piece)
                faults.reach("upload.half_received")
        yield path


def pieces(request: HttpRequest, *, most: int) -> Iterator[bytes]:
    """The body as it comes. Raises TooLarge, and Invalid when it ends early."""
    came = 0
    while piece := request.read(PIECE):
        came += len(piece)
        check_size(came, most)
        yield piece
    check_whole(request)


def lines(request: HttpRequest, *, longest: int, most: int) -> Iterator[bytes]:
    """The lines of a body, without their ends. Raises TooLarge, Invalid."""
    rest = b""
    for piece in pieces(request, most=most):
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
        check_size(len(rest), longest)
    yield rest


def check_size(size: int, most: int) -> None:
    if size > most:
        raise TooLarge(f"{size:,} bytes or more were sent, and {most:,} is the most that is accepted here.")
