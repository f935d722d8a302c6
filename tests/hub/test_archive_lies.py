"""Archives that lie about their size, their end or their kind: each is refused with a finding."""

import gzip
import io
import os
import resource
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from pytest_django import Settings

from hub.errors import BadArchive, TooLarge
from tests.hub import making
from tests.hub.packing import (
    HONEST,
    PACKS,
    Unpack,
    as_tar,
    as_tar_gz,
    as_zip,
    refused,
    zip_of,
)


@pytest.mark.parametrize("kind", PACKS)
def test_a_bomb_is_stopped_by_the_bytes_that_come_out(
    unpack: Unpack, tmp_path: Path, settings: Settings, kind: str
) -> None:
    settings.LIMITS = making.limits(adapter_bytes=20_000_000)
    bomb = PACKS[kind]({"a.json": b"1", "zeros.bin": b"\0" * 60_000_000})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    assert refused(unpack, bomb, kind) == ["archive-is-no-bomb"]

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 21_000_000


@pytest.mark.parametrize("kind", ["a.zip", "a.tar.gz"])
def test_bytes_that_grow_out_of_proportion_are_refused_below_the_cap(
    unpack: Unpack, settings: Settings, kind: str
) -> None:
    settings.LIMITS = making.limits(ratio_floor_bytes=1_000_000)

    assert refused(unpack, PACKS[kind]({"zeros.bin": b"\0" * 5_000_000}), kind) == ["archive-is-no-bomb"]


@pytest.mark.parametrize("delta", [-1, 1, 1000])
@pytest.mark.parametrize("where", ["directory", "member", "both"])
def test_a_zip_that_lies_about_a_size_is_refused(unpack: Unpack, delta: int, where: str) -> None:
    packed = bytearray(as_zip({"x": b"y" * 500}))
    central = packed.index(b"PK\x01\x02")
    if where != "member":
        struct.pack_into("<L", packed, central + 24, 500 + delta)
    if where != "directory":
        struct.pack_into("<L", packed, 22, 500 + delta)

    assert refused(unpack, bytes(packed), "a.zip") == ["archive-reads-one-way"]


def test_a_tar_that_declares_more_than_it_has_is_refused(unpack: Unpack) -> None:
    info = tarfile.TarInfo("x")
    info.size = 10**15

    assert refused(unpack, info.tobuf(tarfile.GNU_FORMAT) + b"y" * 512, "a.tar") == ["archive-reads-one-way"]


def test_a_huge_extended_header_is_refused_before_it_is_read(unpack: Unpack) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 80_000_000
    comment = b"80000000 comment=" + b"x" * (80_000_000 - 18) + b"\n"
    packed = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + comment + as_tar(HONEST))
    del comment
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with pytest.raises(BadArchive, match="extended header of 80,000,000 bytes"):
        unpack(packed, "a.tar.gz")

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize(
    "records", [{"size": "5"}, {"GNU.sparse.major": "1"}, {"linkpath": "x"}, {"hdrcharset": "BINARY"}]
)
def test_extended_headers_that_change_more_than_the_name_are_refused(
    unpack: Unpack, records: dict[str, str]
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("x")
        info.pax_headers = records
        archive.addfile(info)

    assert refused(unpack, out.getvalue(), "a.tar") == ["archive-reads-one-way"]


def test_a_flood_of_extended_headers_is_refused(unpack: Unpack) -> None:
    info = tarfile.TarInfo("x")
    info.type = tarfile.XGLTYPE
    flood = info.tobuf(tarfile.USTAR_FORMAT) * 1000

    assert refused(unpack, flood + as_tar(HONEST), "a.tar") == ["archive-has-few-members"]


def confusions() -> dict[str, bytes]:
    one, two = as_zip({"a.json": b"first"}), as_zip({"a.json": b"second"})
    renamed = one.replace(b"a.json", b"b.json", 1)
    commented = io.BytesIO(one)
    with zipfile.ZipFile(commented, "a") as archive:
        archive.comment = b"PK\x05\x06"
    gap = bytearray(one)
    at = gap.index(b"PK\x01\x02")
    gap[at:at] = b"junk"
    struct.pack_into("<L", gap, len(gap) - 6, at + 4)
    hidden = bytearray(as_zip({"a.json": b"first", "b.json": b"hidden"}))
    central = hidden.index(b"PK\x01\x02")
    entry = 46 + len("a.json")
    del hidden[central + entry : central + 2 * entry]
    end = len(hidden) - 22
    struct.pack_into("<2H2L", hidden, end + 8, 1, 1, entry, central)
    three = as_zip({"a.json": b"1", "b.json": b"2", "c.json": b"3"})
    start, entry_size = three.index(b"PK\x01\x02"), 46 + len("a.json")
    first, second = three[start : start + entry_size], three[start + entry_size : start + 2 * entry_size]
    return {
        "another order in the directory": three.replace(first + second, second + first),
        "something before the end record": one[:-22] + b"junk" + one[-22:],
        "two archives": one + two,
        "something before": b"#!/bin/sh\n" + one,
        "something after": one + b"tail",
        "another name in the member": renamed,
        "a comment": commented.getvalue(),
        "a gap": bytes(gap),
        "a hidden member": bytes(hidden),
        "cut": one[:-5],
        "nothing but an end record": b"PK\x05\x06" + b"\0" * 18,
        "a tar": as_tar({"a.json": b"1"}),
    }


@pytest.mark.parametrize("name", confusions())
def test_a_zip_that_can_be_read_in_two_ways_is_refused(unpack: Unpack, name: str) -> None:
    assert set(refused(unpack, confusions()[name], "a.zip")) <= {
        "archive-reads-one-way",
        "archive-is-what-its-name-says",
    }


def test_a_file_that_is_a_zip_and_a_tar_is_refused(unpack: Unpack) -> None:
    padded = io.BytesIO()
    with zipfile.ZipFile(padded, "w") as archive:
        archive.writestr("x" * (257 - 30) + "ustar", b"")

    assert refused(unpack, padded.getvalue(), "a.zip") == ["archive-reads-one-way"]


@pytest.mark.parametrize("tail", [b"tail", as_zip({"x": b"y"})])
def test_a_tar_with_something_after_its_end_is_refused(unpack: Unpack, tail: bytes) -> None:
    assert refused(unpack, as_tar(HONEST) + tail, "a.tar") == ["archive-reads-one-way"]
    assert refused(unpack, as_tar_gz(HONEST) + tail, "a.tar.gz") == ["archive-reads-one-way"]
    assert refused(unpack, gzip.compress(as_tar(HONEST)) + gzip.compress(tail), "a.tar.gz") == [
        "archive-reads-one-way"
    ]


@pytest.mark.parametrize("kind", PACKS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_cut_archive_is_refused(unpack: Unpack, kind: str, share: float) -> None:
    packed = PACKS[kind](HONEST)
    cut = packed[: int(min(len(packed), 4500) * share)]

    assert len(refused(unpack, cut, kind)) == 1


@pytest.mark.parametrize("kind", PACKS)
def test_random_bytes_are_refused(unpack: Unpack, kind: str) -> None:
    assert len(refused(unpack, os.urandom(2000), kind)) == 1


def test_flipping_any_byte_of_an_archive_gives_a_finding_or_the_same_files(unpack: Unpack) -> None:
    """No byte makes it fail in another way, or read other content."""
    for kind, pack in (("a.zip", as_zip), ("a.tar.gz", as_tar_gz)):
        packed = pack({"a.json": b"first content", "b.json": b"second"})
        for position in range(0, len(packed), 3):
            damaged = bytearray(packed)
            damaged[position] ^= 0xFF
            try:
                found = unpack(bytes(damaged), kind)
            except BadArchive:
                continue
            assert sorted(found.values()) == [b"first content", b"second"]


@pytest.mark.parametrize("inner", ["x.zip", "x.tar", "x.tar.gz", "weights.bin"])
@pytest.mark.parametrize("kind", PACKS)
def test_an_archive_in_an_archive_is_refused_whatever_it_is_called(
    unpack: Unpack, kind: str, inner: str
) -> None:
    content = {"x.tar": as_tar, "x.tar.gz": as_tar_gz}.get(inner, as_zip)(HONEST)

    assert refused(unpack, PACKS[kind]({inner: content}), kind) == ["archive-is-not-nested"]


@pytest.mark.parametrize("kind", PACKS)
def test_one_member_too_many_is_refused_and_the_last_allowed_is_read(unpack: Unpack, kind: str) -> None:
    assert len(unpack(PACKS[kind]({f"f{number}": b"" for number in range(64)}), kind)) == 64

    assert refused(unpack, PACKS[kind]({f"f{number}": b"" for number in range(65)}), kind) == [
        "archive-has-few-members"
    ]


def test_two_hundred_thousand_members_are_refused_from_the_end_record(unpack: Unpack) -> None:
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 60_000, 60_000, 60_000 * 50, 4, 0)

    assert refused(unpack, b"PK\x03\x04" + b"\0" * 3_000_000 + end, "a.zip") == ["archive-has-few-members"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unusual_packing_methods_are_refused(unpack: Unpack, method: int) -> None:
    assert refused(unpack, as_zip(HONEST, method), "a.zip") == ["archive-is-plain"]


def test_an_encrypted_member_is_refused(unpack: Unpack) -> None:
    packed = bytearray(as_zip({"x": b"y"}))
    packed[6] |= 1
    packed[packed.index(b"PK\x01\x02") + 8] |= 1

    assert refused(unpack, bytes(packed), "a.zip") == ["archive-is-plain"]


def test_a_name_that_is_no_archive_is_refused(unpack: Unpack) -> None:
    assert refused(unpack, as_zip(HONEST), "a.rar") == ["archive-is-what-its-name-says"]


def test_an_archive_over_the_cap_is_refused_before_it_is_read(unpack: Unpack, settings: Settings) -> None:
    settings.LIMITS = making.limits(archive_bytes=1000)

    with pytest.raises(TooLarge):
        unpack(as_zip(HONEST), "a.zip")


def test_deflate_streams_that_end_early_or_go_on_are_refused(unpack: Unpack) -> None:
    deflater = zlib.compressobj(wbits=-15)
    body = deflater.compress(b"abc" * 100) + deflater.flush()
    for patched in (body + b"extra", body[:-3]):
        packed = zip_of("x", patched, size=300, crc=zlib.crc32(b"abc" * 100))
        assert refused(unpack, packed, "a.zip") == ["archive-reads-one-way"]
