"""Xet's way of sending files: chunks in bundles (xorbs), and lists of which chunks make a file (shards).

A xorb is chunks one after another, each behind 8 bytes: version, packed length (3), scheme, raw length (3),
little endian. A shard is a header, then for each file a record, its segments and digests, until a record of
ones.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import lz4.frame

from hub.errors import Invalid

CHUNK_HEADER = 8
LARGEST_CHUNK = 2 * 1024 * 1024
FOOTER = b"XETBLOB"
STORED, LZ4, GROUPED = 0, 1, 2
PLANES = 4
RECORD = 48
END = b"\xff" * 32
HAS_VERIFICATION, HAS_SHA256 = 1 << 31, 1 << 30


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies in its xorb, and how it was packed."""

    place: int
    packed: int
    scheme: int
    size: int

    @property
    def end(self) -> int:
        return self.place + self.packed


@dataclass(frozen=True)
class Segment:
    """Some chunks of one xorb, in a row."""

    xorb: str
    size: int
    first: int
    end: int


@dataclass(frozen=True)
class SentFile:
    """Which chunks make a file, and the sha256 that its sender says it has, if any."""

    segments: tuple[Segment, ...]
    sha256: str

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)


def chunks_of(file: BinaryIO) -> Iterator[Chunk]:
    """The chunks of a xorb in order, without their bytes. Raises Invalid."""
    place = 0
    while header := file.read(CHUNK_HEADER):
        if header.startswith(FOOTER):
            return
        if len(header) < CHUNK_HEADER or header[0] != 0:
            raise Invalid(f"the xorb cannot be read at byte {place}: expected a chunk of version 0")
        packed, size = int.from_bytes(header[1:4], "little"), int.from_bytes(header[5:8], "little")
        chunk = Chunk(place + CHUNK_HEADER, packed, header[4], size)
        if chunk.scheme not in {STORED, LZ4, GROUPED} or not 0 < size <= LARGEST_CHUNK:
            raise Invalid(f"the xorb has a chunk of scheme {chunk.scheme} and {size:,} bytes at byte {place}")
        place = chunk.place + packed
        file.seek(place)
        yield chunk


def unpacked(file: BinaryIO, chunk: Chunk) -> bytes:
    """The bytes of a chunk. Raises Invalid."""
    file.seek(chunk.place)
    packed = file.read(chunk.packed)
    raw = packed if chunk.scheme == STORED else _decompressed(packed, chunk)
    if len(raw) != chunk.size:
        raise Invalid(f"a chunk of the xorb has {len(raw):,} bytes, expected {chunk.size:,}")
    return _in_order(raw) if chunk.scheme == GROUPED else raw


def _decompressed(packed: bytes, chunk: Chunk) -> bytes:
    """At most one byte more than was declared is ever unpacked."""
    try:
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(packed, max_length=chunk.size + 1))
    except RuntimeError as error:
        raise Invalid(f"a chunk of the xorb cannot be unpacked: {error}") from error


def _in_order(grouped: bytes) -> bytes:
    """Bytes that were sorted by their place in groups of four, as numbers of four bytes pack best."""
    raw = bytearray(len(grouped))
    start = 0
    for plane in range(PLANES):
        length = len(raw[plane::PLANES])
        raw[plane::PLANES] = grouped[start : start + length]
        start += length
    return bytes(raw)


def files_of(shard: bytes) -> list[SentFile]:
    """The files that a shard describes. Raises Invalid."""
    files, place = [], RECORD
    while (record := _record(shard, place))[:32] != END:
        flags, count = struct.unpack_from("<II", record, 32)
        place += RECORD
        segments = tuple(_segment(_record(shard, place + number * RECORD)) for number in range(count))
        place += count * RECORD * (2 if flags & HAS_VERIFICATION else 1)
        sha256 = ""
        if flags & HAS_SHA256:
            sha256 = _name(_record(shard, place)[:32])
            place += RECORD
        files.append(SentFile(segments, sha256))
    return files


def _segment(record: bytes) -> Segment:
    _flags, size, first, end = struct.unpack_from("<IIII", record, 32)
    return Segment(_name(record[:32]), size, first, end)


def _record(shard: bytes, place: int) -> bytes:
    record = shard[place : place + RECORD]
    if len(record) < RECORD:
        raise Invalid(f"the shard ends at byte {len(shard)}, in the middle of a file")
    return record


def _name(digest: bytes) -> str:
    """A hash as Xet writes it: four little-endian numbers, each in hexadecimal."""
    return "".join(f"{number:016x}" for number in struct.unpack("<4Q", digest))
