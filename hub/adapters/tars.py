"""Reading a tar, packed by gzip or not, member by member (POSIX ustar and pax headers, GNU long names).

Own code, because the standard reader loads a header of any declared size into memory and knows links, devices
and
sparse files, all of which are refused here (RELIABILITY A2, A3, A4).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from hub.adapters.unpacking import Budget, Unpacked, check_count, refuse
from hub.errors import BadArchive

BLOCK = 512
CHUNK = 256 * 1024
LONGEST_HEADER = 64 * 1024
EMPTY = b"\0" * BLOCK
FILES, FOLDER, PAX, PAX_GLOBAL, GNU_LONG_NAME = (b"0", b"\0"), b"5", b"x", b"g", b"L"
HARMLESS_PAX = (
    "mtime",
    "atime",
    "ctime",
    "uid",
    "gid",
    "uname",
    "gname",
    "comment",
    "SCHILY.",
    "LIBARCHIVE.",
)
GZIP = zlib.MAX_WBITS | 16
SETUID_OR_SETGID = 0o6000


@dataclass(frozen=True)
class Header:
    """One header block."""

    name: str
    size: int
    kind: bytes
    mode: int


class Blocks:
    """A stream of bytes that is asked for exact amounts, and whose output is counted."""

    def __init__(self, chunks: Iterator[bytes], budget: Budget) -> None:
        self._chunks = chunks
        self._budget = budget
        self._rest = b""

    def take(self, size: int) -> bytes:
        """Exactly `size` bytes, which must be few. Raises BadArchive at the end of the stream."""
        return b"".join(self.stream(size))

    def stream(self, size: int) -> Iterator[bytes]:
        """Exactly `size` bytes in chunks. Raises BadArchive at the end of the stream."""
        while size:
            chunk = self._rest or next(self._chunks, b"")
            if not chunk:
                raise _damaged("", "the archive ends in the middle")
            part, self._rest = chunk[:size], chunk[size:]
            size -= len(part)
            self._budget.spend(len(part))
            yield part

    def drain(self) -> Iterator[bytes]:
        """Everything that is left."""
        if self._rest:
            yield self._rest
        for chunk in self._chunks:
            self._budget.spend(len(chunk))
            yield chunk


def read_tar(file: BinaryIO, size: int, *, into: Unpacked) -> None:
    """Write every member of a plain tar into `into`. Raises BadArchive."""
    _read(Blocks(_plain(file), Budget(size)), into)


def read_tar_gz(file: BinaryIO, size: int, *, into: Unpacked) -> None:
    """Write every member of a gzipped tar into `into`. Raises BadArchive."""
    _read(Blocks(_gunzipped(file), Budget(size)), into)


def _read(blocks: Blocks, into: Unpacked) -> None:
    long_name, members, extensions = "", 0, 0
    while (block := blocks.take(BLOCK)) != EMPTY:
        header = _parse(block)
        if header.kind in {PAX, PAX_GLOBAL, GNU_LONG_NAME}:
            extensions += 1  # of the next member; a flood of them costs time and brings no byte of a file
            check_count(extensions)
            long_name = _long_name(header, _extension(blocks, header)) or long_name
            continue
        members, extensions = members + 1, 0
        check_count(members)
        name, long_name = long_name or header.name, ""
        _check_member(name, header)
        content = blocks.stream(header.size)
        if header.kind == FOLDER:
            into.expect(name.rstrip("/"))
            continue
        into.add(name, content)
        blocks.take(-header.size % BLOCK)
    if any(chunk.strip(b"\0") for chunk in blocks.drain()):
        raise _damaged("", "something follows the end of the archive")


def _parse(block: bytes) -> Header:
    """POSIX.1-1988 ustar: the checksum counts its own field as spaces."""
    if sum(block[:148]) + sum(block[156:]) + 8 * ord(" ") != _number(block[148:156]):
        raise _damaged("", "a header whose checksum is wrong; this is no tar, or a damaged one")
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    full = f"{prefix}/{name}" if prefix else name
    return Header(full, _number(block[124:136]), block[156:157], _number(block[100:108]))


def _check_member(name: str, header: Header) -> None:
    if header.kind not in {*FILES, FOLDER}:
        raise refuse(
            "archive-holds-files-only",
            file=name,
            found=f"a link, a device or a sparse file (type {header.kind!r})",
            expected="files and folders",
        )
    if header.mode & SETUID_OR_SETGID:
        raise refuse("archive-holds-files-only", file=name, found="a setuid file", expected="plain files")
    if header.kind == FOLDER and header.size:
        raise _damaged(name, "a folder with content")


def _extension(blocks: Blocks, header: Header) -> bytes:
    """The content of a header that describes the next one."""
    if header.size > LONGEST_HEADER:
        raise _damaged(header.name, f"an extended header of {header.size:,} bytes")
    content = blocks.take(header.size)
    blocks.take(-header.size % BLOCK)
    return content


def _long_name(header: Header, content: bytes) -> str:
    """The name that an extension gives the next member; empty when it gives none."""
    if header.kind == GNU_LONG_NAME:
        return _text(content)
    records = dict(_pax_records(content))
    unknown = [key for key in records if key != "path" and not key.startswith(HARMLESS_PAX)]
    if unknown or (header.kind == PAX_GLOBAL and "path" in records):
        raise _damaged(header.name, f"an extended header that changes {', '.join(unknown) or 'every name'}")
    return records.get("path", "")


def _pax_records(content: bytes) -> Iterator[tuple[str, str]]:
    r"""POSIX.1-2001 pax: records of `length key=value\n`."""
    while content:
        digits, space, _ = content.partition(b" ")
        length = int(digits) if space and digits.isdigit() and len(digits) <= len(str(LONGEST_HEADER)) else 0
        record, content = content[:length], content[length:]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if not length or not equals or not value.endswith(b"\n"):
            raise _damaged("", "an extended header that cannot be read")
        yield _text(key), _text(value[:-1])


def _number(field: bytes) -> int:
    """Octal digits, or GNU's binary form behind a high bit."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise _damaged("", "a header with a number that is none")
    return int(digits, 8)


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _plain(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    while chunk := file.read(CHUNK):
        yield chunk


def _gunzipped(file: BinaryIO) -> Iterator[bytes]:
    """One gzip member, and nothing after it."""
    inflater = zlib.decompressobj(GZIP)
    for packed in _plain(file):
        waiting = packed
        while waiting and not inflater.eof:
            try:
                yield inflater.decompress(waiting, CHUNK)
            except zlib.error as error:
                raise _damaged("", "the gzip stream is damaged, or this is no gzip file") from error
            waiting = inflater.unconsumed_tail
        if inflater.unused_data or (inflater.eof and waiting):
            raise _damaged("", "something follows the end of the gzip stream")
    if not inflater.eof:
        raise _damaged("", "the gzip stream ends too early")


def _damaged(name: str, found: str) -> BadArchive:
    return refuse(
        "archive-reads-one-way",
        file=name,
        found=found,
        expected="a complete tar archive of plain files",
    )
