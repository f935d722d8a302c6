"""Reading a zip so that there is only one way to read it (RELIABILITY A6; PyPI's rules).

The local headers are walked in order and must tell the same story as the central directory: same names, sizes
and
order, no gap, nothing before, nothing after, one end record. Formats: APPNOTE.TXT 4.3.
"""

import stat
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from django.conf import settings

from hub.adapters.unpacking import TAR_MAGIC, TAR_MAGIC_AT, Budget, Unpacked, check_count, refuse
from hub.errors import BadArchive

END = struct.Struct("<4s4H2LH")
ENTRY = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
DESCRIPTOR = struct.Struct("<3L")
END_MAGIC, ENTRY_MAGIC, LOCAL_MAGIC, DESCRIPTOR_MAGIC = (
    b"PK\x05\x06",
    b"PK\x01\x02",
    b"PK\x03\x04",
    b"PK\x07\x08",
)
ENCRYPTED, HAS_DESCRIPTOR, UTF8 = 0x1, 0x8, 0x800
KNOWN_FLAGS = HAS_DESCRIPTOR | UTF8 | 0x6  # 0x6: how hard the packer tried
STORED, DEFLATED = 0, 8
ZIP64_EXTRA = 0x0001
UNIX = 3
CHUNK = 256 * 1024


@dataclass(frozen=True)
class Entry:
    """A member as the central directory describes it."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    mode: int

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


def read_zip(file: BinaryIO, size: int, *, into: Unpacked) -> None:
    """Write every member into `into`. Raises BadArchive."""
    _check_start(file)
    entries, directory_at = _central_directory(file, size)
    for entry in entries:
        _check_entry(entry)
        into.expect(entry.name.rstrip("/"))
    budget = Budget(size)
    position = 0
    for entry in entries:
        if entry.offset != position:
            raise _confusing(entry.name, f"it begins at {entry.offset} where {position} was due")
        position = _read_member(file, entry, into=into, budget=budget)
    if position != directory_at:
        raise _confusing("", f"{directory_at - position} bytes between the last member and the directory")


def _check_start(file: BinaryIO) -> None:
    file.seek(0)
    start = file.read(TAR_MAGIC_AT + len(TAR_MAGIC))
    if not start.startswith(LOCAL_MAGIC):
        raise refuse(
            "archive-is-what-its-name-says",
            found="the file does not begin with a zip member",
            expected="a zip archive with nothing before it",
        )
    if start[TAR_MAGIC_AT:] == TAR_MAGIC:
        raise _confusing("", "the file is a zip and a tar at once")


def _central_directory(file: BinaryIO, size: int) -> tuple[list[Entry], int]:
    """The entries and where the directory begins; sizes and counts are checked before anything is read."""
    file.seek(max(0, size - END.size))
    tail = file.read(END.size)
    if len(tail) != END.size or not tail.startswith(END_MAGIC):
        raise _confusing(
            "", "the file does not end with a zip end record; something was cut off, added or commented"
        )
    _, disk, directory_disk, here, count, length, offset, comment = END.unpack(tail)
    if disk or directory_disk or here != count or comment:
        raise _confusing("", "an end record of several disks or with a comment")
    check_count(count)
    if length > settings.LIMITS.central_directory_bytes:
        raise refuse(
            "archive-has-few-members",
            found=f"a directory of {length:,} bytes",
            expected=f"at most {settings.LIMITS.central_directory_bytes:,}",
        )
    if offset + length != size - END.size:
        raise _confusing("", "the directory does not end where the end record begins")
    file.seek(offset)
    return list(_entries(file.read(length), count)), offset


def _entries(directory: bytes, count: int) -> Iterator[Entry]:
    position = 0
    for _ in range(count):
        head = directory[position : position + ENTRY.size]
        if len(head) < ENTRY.size or not head.startswith(ENTRY_MAGIC):
            raise _confusing("", "the directory holds fewer members than it says")
        fields = ENTRY.unpack(head)
        (
            _,
            made_by,
            _,
            flags,
            method,
            _,
            _,
            crc,
            packed,
            size,
            name_len,
            extra_len,
            comment_len,
            disk,
            _,
            attrs,
            at,
        ) = fields
        position += ENTRY.size
        raw = directory[position : position + name_len]
        extra = directory[position + name_len : position + name_len + extra_len]
        if comment_len or disk or len(raw) < name_len:
            raise _confusing(_shown(raw), "a comment in the directory, a second disk or a name cut short")
        _check_extra(raw, extra)
        position += name_len + extra_len
        mode = attrs >> 16 if made_by >> 8 == UNIX else 0
        yield Entry(_shown(raw), raw, flags, method, crc, packed, size, at, mode)
    if position != len(directory):
        raise _confusing("", "the directory holds more than its members")


def _check_extra(raw: bytes, extra: bytes) -> None:
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == ZIP64_EXTRA:
            raise refuse(
                "archive-is-plain",
                file=_shown(raw),
                found="zip64 fields",
                expected="a plain zip; no file here is that large",
            )
        position += 4 + length


def _check_entry(entry: Entry) -> None:
    """Raises BadArchive for what is no plain file or folder."""
    kind = stat.S_IFMT(entry.mode)
    if entry.flags & ~KNOWN_FLAGS or entry.method not in {STORED, DEFLATED}:
        found = (
            "encrypted"
            if entry.flags & ENCRYPTED
            else f"packed by method {entry.method}, flags {entry.flags:#x}"
        )
        raise refuse(
            "archive-is-plain", file=entry.name, found=found, expected="stored or deflated, not encrypted"
        )
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR} or (kind == stat.S_IFDIR) > entry.is_folder:
        raise refuse(
            "archive-holds-files-only",
            file=entry.name,
            found="a link or a device",
            expected="files and folders",
        )
    if entry.mode & (stat.S_ISUID | stat.S_ISGID):
        raise refuse(
            "archive-holds-files-only", file=entry.name, found="a setuid file", expected="plain files"
        )
    if entry.is_folder and (entry.size or entry.packed > len(b"\x03\x00")):
        raise _confusing(entry.name, "a folder with content")
    if entry.method == STORED and entry.flags & HAS_DESCRIPTOR:
        raise _confusing(entry.name, "a stored member whose size is only known after it")


def _read_member(file: BinaryIO, entry: Entry, *, into: Unpacked, budget: Budget) -> int:
    """Check the local header, write the member, and return where the next one must begin."""
    file.seek(entry.offset)
    head = file.read(LOCAL.size)
    if len(head) < LOCAL.size or not head.startswith(LOCAL_MAGIC):
        raise _confusing(entry.name, "the directory points to no member")
    name_length, extra_length = _check_local(file, entry, head)
    content = _inflated(file, entry) if entry.method == DEFLATED else _stored(file, entry)
    content = _checked(content, entry, budget)
    if entry.is_folder:
        for _ in content:
            pass
    else:
        into.add(entry.name, content)
    return entry.offset + LOCAL.size + name_length + extra_length + entry.packed + _descriptor(file, entry)


def _check_local(file: BinaryIO, entry: Entry, head: bytes) -> tuple[int, int]:
    """Compare the member's own header with the directory; the lengths of its name and of its extra fields."""
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = LOCAL.unpack(head)
    raw, extra = file.read(name_length), file.read(extra_length)
    _check_extra(raw, extra)
    told = (entry.crc, entry.packed, entry.size)
    if raw != entry.raw_name or flags != entry.flags or method != entry.method:
        found = f"the member itself says {_shown(raw)!r}, flags {flags:#x}, method {method}"
        raise _confusing(entry.name, found)
    if (crc, packed, size) not in ({told, (0, 0, 0)} if flags & HAS_DESCRIPTOR else {told}):
        raise _confusing(entry.name, "the member and the directory differ in size or checksum")
    return int(name_length), int(extra_length)


def _stored(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    left = entry.packed
    while left and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _inflated(file: BinaryIO, entry: Entry) -> Iterator[bytes]:
    """The member's content; its packed bytes must all be used, and no more."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    for packed in _stored(file, entry):
        waiting = packed
        while waiting and not inflater.eof:
            try:
                yield inflater.decompress(waiting, CHUNK)
            except zlib.error as error:
                raise _confusing(entry.name, "its packed bytes are damaged") from error
            waiting = inflater.unconsumed_tail
        if inflater.unused_data:
            raise _confusing(entry.name, "bytes after the end of its packed content")
    if not inflater.eof:
        raise _confusing(entry.name, "its packed bytes end too early")


def _checked(content: Iterator[bytes], entry: Entry, budget: Budget) -> Iterator[bytes]:
    """Count and sum what really comes out, and compare with what was promised."""
    size, crc = 0, 0
    for chunk in content:
        size += len(chunk)
        budget.spend(len(chunk))
        if size > entry.size:
            break
        crc = zlib.crc32(chunk, crc)
        yield chunk
    if (size, crc) != (entry.size, entry.crc):
        raise _confusing(entry.name, "its content has another size or checksum than declared")


def _descriptor(file: BinaryIO, entry: Entry) -> int:
    """The length of the data descriptor after a member, which must repeat the directory's numbers."""
    if not entry.flags & HAS_DESCRIPTOR:
        return 0
    bare = DESCRIPTOR.pack(entry.crc, entry.packed, entry.size)
    found = file.read(len(DESCRIPTOR_MAGIC) + DESCRIPTOR.size)
    if found == DESCRIPTOR_MAGIC + bare:
        return len(found)
    if found.startswith(bare):
        return len(bare)
    raise _confusing(entry.name, "the sizes written after it differ from the directory's")


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _confusing(name: str, found: str) -> BadArchive:
    return refuse(
        "archive-reads-one-way",
        file=name,
        found=found,
        expected="members and directory that agree, with nothing before, between or after them",
    )
