"""A checkpoint as one uncompressed tar that exists nowhere: headers are computed, bytes come from blobs.

The same files give the same bytes, so the archive has a digest and any part of it can be asked for again.
"""

import hashlib
import tarfile
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from hub.blobs import services as blobs
from hub.blobs.models import Blob

BLOCK = 512
RECORD = 20 * BLOCK  # tar programs expect the archive to end on such a boundary
ZEROS = b"\0" * BLOCK


@dataclass(frozen=True)
class Literal:
    """Bytes that are in the archive only: a header, padding, the end."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, start: int, length: int) -> Iterator[bytes]:
        yield self.content[start : start + length]


@dataclass(frozen=True)
class Stored:
    """Bytes that are a blob."""

    blob: Blob

    @property
    def size(self) -> int:
        return self.blob.size

    def read(self, start: int, length: int) -> Iterator[bytes]:
        return blobs.read(self.blob, start=start, length=length)


Segment = Literal | Stored


def layout(folder: str, files: Iterable[tuple[str, Blob]]) -> list[Segment]:
    """The archive's segments in order: GNU tar, fixed owner, mode and time, sorted by path."""
    segments: list[Segment] = []
    for path, blob in sorted(files, key=lambda file: file[0]):
        segments += [
            Literal(_header(f"{folder}/{path}", blob.size)),
            Stored(blob),
            Literal(_padding(blob.size, BLOCK)),
        ]
    size = sum(segment.size for segment in segments)
    segments.append(Literal(ZEROS * 2 + _padding(size + 2 * BLOCK, RECORD)))
    return segments


class Tar:
    """A virtual file over segments."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.segments = [segment for segment in segments if segment.size]
        self.starts = [0, *accumulate(segment.size for segment in self.segments)]
        self.size = self.starts[-1]

    def read(self, *, start: int, length: int) -> Iterator[bytes]:
        """`length` bytes from `start`, in chunks."""
        position, end = start, min(start + length, self.size)
        while position < end:
            place = bisect_right(self.starts, position) - 1
            inside = position - self.starts[place]
            wanted = min(end - position, self.segments[place].size - inside)
            yield from self.segments[place].read(inside, wanted)
            position += wanted

    def digest(self) -> str:
        """The sha256 of the whole archive, read once."""
        sha256 = hashlib.sha256()
        for chunk in self.read(start=0, length=self.size):
            sha256.update(chunk)
        return sha256.hexdigest()


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int, boundary: int) -> bytes:
    return b"\0" * (-size % boundary)
