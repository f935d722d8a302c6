"""Xet's bundles and lists: read as the client writes them (the conformance tests), and refused when they lie."""

import io
import struct

import lz4.frame
import pytest

from hub.errors import Invalid
from hub.hf import xorbs
from hub.hf.xorbs import Chunk, Segment, SentFile

RAW = bytes(range(256)) * 37 + b"end"


def chunk(packed: bytes, scheme: int, size: int = len(RAW)) -> bytes:
    return b"\0" + len(packed).to_bytes(3, "little") + bytes([scheme]) + size.to_bytes(3, "little") + packed


def grouped(raw: bytes) -> bytes:
    return b"".join(raw[plane::4] for plane in range(4))


PACKED = {
    xorbs.STORED: RAW,
    xorbs.LZ4: lz4.frame.compress(RAW),
    xorbs.GROUPED: lz4.frame.compress(grouped(RAW)),
}


def test_chunks_of_each_scheme_are_unpacked() -> None:
    bundle = io.BytesIO(b"".join(chunk(packed, scheme) for scheme, packed in PACKED.items()))

    found = list(xorbs.chunks_of(bundle))

    assert [one.scheme for one in found] == list(PACKED)
    assert [xorbs.unpacked(bundle, one) for one in found] == [RAW] * 3


def test_a_chunk_that_is_larger_than_it_says_is_not_unpacked_any_further() -> None:
    bomb = lz4.frame.compress(bytes(50_000_000))
    bundle = io.BytesIO(chunk(bomb, xorbs.LZ4, size=10))

    with pytest.raises(Invalid, match="11 bytes, expected 10"):
        xorbs.unpacked(bundle, next(xorbs.chunks_of(bundle)))


@pytest.mark.parametrize(
    "bundle",
    [b"\1" + bytes(7), b"\0\0\0", chunk(RAW, 3), chunk(RAW, 0, size=0), chunk(RAW, 0, size=2**24 - 1)],
)
def test_what_is_no_bundle_is_refused(bundle: bytes) -> None:
    with pytest.raises(Invalid):
        list(xorbs.chunks_of(io.BytesIO(bundle)))


@pytest.mark.parametrize("packed", [b"", b"no lz4", lz4.frame.compress(RAW)[:-20]])
def test_a_broken_chunk_is_refused(packed: bytes) -> None:
    with pytest.raises(Invalid):
        xorbs.unpacked(io.BytesIO(packed), Chunk(0, len(packed), xorbs.LZ4, len(RAW)))


def record(digest: int, *numbers: int) -> bytes:
    return struct.pack("<4Q", *[digest] * 4) + struct.pack("<4I", *numbers)


END = b"\xff" * 48


def test_a_shard_lists_files_with_their_segments() -> None:
    verified = record(1, 1 << 31 | 1 << 30, 2, 0, 0)
    segments = record(7, 0, 100, 0, 3) + record(8, 0, 50, 4, 5)
    plain = record(2, 0, 1, 0, 0) + record(7, 0, 10, 1, 2)
    shard = bytes(48) + verified + segments + bytes(96) + record(9, 0, 0, 0, 0) + plain + END

    found = xorbs.files_of(shard)

    seven, eight, nine = (f"{number:016x}" * 4 for number in (7, 8, 9))
    assert found == [
        SentFile((Segment(seven, 100, 0, 3), Segment(eight, 50, 4, 5)), nine),
        SentFile((Segment(seven, 10, 1, 2),), ""),
    ]
    assert found[0].size == 150


@pytest.mark.parametrize("cut", [0, 48, 60, 120])
def test_a_shard_that_ends_early_is_refused(cut: int) -> None:
    shard = bytes(48) + record(1, 0, 2_000_000_000, 0, 0) + record(7, 0, 1, 0, 1)

    with pytest.raises(Invalid, match="in the middle"):
        xorbs.files_of(shard[:cut])
