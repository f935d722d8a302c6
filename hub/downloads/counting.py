"""Which answers with a file's bytes are a download of a release's weights."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.http import HttpRequest

from hub.accounts.addresses import address
from hub.adapters import permissions
from hub.adapters.models import Commit
from hub.downloads import services
from hub.library.permissions import Visitor
from hub.ranges import Reader

WEIGHTS = "adapter_model.safetensors"
A_PEEK = 256 * 1024  # so much from the beginning is read to see tensors' names or the file's size


def counted(
    read: Reader, *, request: HttpRequest, visitor: Visitor, commit: Commit, path: str, size: int
) -> Reader:
    """The reader of a file, which counts the visitor when it gives out a release's weights from their
    beginning. An owner is not counted.
    """
    release = commit.examined_as
    if path != WEIGHTS or release is None or permissions.may_write(visitor, commit.adapter):
        return read
    where = address(request)
    return _Counting(read, size, lambda: services.record(release=release, visitor=visitor, address=where))


@dataclass(frozen=True)
class _Counting:
    """Counts after the bytes were sent, so that whoever writes to the database just then keeps no client
    waiting.
    """

    read: Reader
    size: int
    count: Callable[[], None]

    def __call__(self, *, start: int, length: int) -> Iterator[bytes]:
        stream = self.read(start=start, length=length)
        begins = start == 0 and (length == self.size or length > A_PEEK)
        return _then(stream, self.count) if begins else stream


def _then(stream: Iterator[bytes], count: Callable[[], None]) -> Iterator[bytes]:
    """Also when the client leaves before the end, since it may come back for the rest."""
    try:
        yield from stream
    finally:
        count()
