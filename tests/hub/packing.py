"""Archives packed by hand, and what the hub says of them."""

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from hub.errors import BadArchive

CONFIG, WEIGHTS = b'{"r": 4}', os.urandom(3000)
HONEST = {"adapter/adapter_config.json": CONFIG, "adapter/adapter_model.safetensors": WEIGHTS}
Pack = Callable[[dict[str, bytes]], bytes]


def as_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return out.getvalue()


def as_tar(files: dict[str, bytes], dialect: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=dialect) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def as_tar_gz(files: dict[str, bytes]) -> bytes:
    return gzip.compress(as_tar(files))


PACKS: dict[str, Pack] = {"a.zip": as_zip, "a.tar": as_tar, "a.tar.gz": as_tar_gz, "a.tgz": as_tar_gz}


Unpack = Callable[[bytes, str], dict[str, bytes]]


def refused(unpack: Unpack, packed: bytes, name: str) -> list[str]:
    """The checks that refused it; nothing lies outside of the given folder and no file has a name of theirs."""
    with pytest.raises(BadArchive) as caught:
        unpack(packed, name)
    assert all(
        finding["found"] and finding["expected"] and finding["fix"] for finding in caught.value.findings
    )
    return [finding["check"] for finding in caught.value.findings]


def zip_of(name: str, body: bytes, *, size: int, crc: int) -> bytes:
    """A zip of one deflated member, written by hand."""
    raw = name.encode()
    local = (
        struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(body), size, len(raw), 0)
        + raw
        + body
    )
    entry = (
        struct.pack(
            "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(body), size, len(raw), 0, 0, 0, 0, 0, 0
        )
        + raw
    )
    return local + entry + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(local), 0)
