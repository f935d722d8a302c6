"""Uploads that go on where they broke off: what came of each file so far, by person and digest.

Pieces lie in the temporary folder, which the web processes share, until a release is made of them; what
nobody goes on with is swept away like any other interrupted upload. They are whose they are who sends them,
also on the way to an organisation: whoever loses their role there loses no byte. What they may weigh is for
the owner of what they become.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Protocol

from django.conf import settings
from django.http import UnreadablePostError

from hub.accounts.models import User
from hub.adapters import quota
from hub.adapters.models import CommitFile, Release
from hub.adapters.staging import StagedFile
from hub.blobs import content, space
from hub.blobs import services as blobs
from hub.errors import Conflict, Invalid, NotFound, TooLarge

SHA256 = re.compile(r"[0-9a-f]{64}\Z")
CHUNK = 256 * 1024


class Body(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Piece:
    """A file that somebody is uploading, for themselves or an organisation, and which bytes it will be."""

    person: User
    sha256: str
    owner: User

    @property
    def part(self) -> Path:
        """What came so far."""
        return settings.TEMPORARY / f"piece-{self.person.pk}-{self.sha256}.part"

    @property
    def whole(self) -> Path:
        """All of it, compared with its digest."""
        return self.part.with_suffix("")


def piece(person: User, sha256: str, owner: User | None = None) -> Piece:
    """For `owner`, under whose name the person may upload; otherwise their own. Raises Invalid where that is
    no digest.
    """
    if not SHA256.match(sha256):
        raise Invalid(f"sha256 is {sha256[:80]!r}; expected 64 of the digits 0-9 and a-f")
    return Piece(person, sha256, owner or person)


def all_received(wanted: Iterable[Piece]) -> dict[Piece, tuple[int, bool]]:
    """`received` of many files, asked of the database at once."""
    found = list(dict.fromkeys(wanted))
    kept = _kept_sizes(found)
    return {one: _received(one, _size_of(one, kept)) for one in found}


def _received(of: Piece, kept: int | None) -> tuple[int, bool]:
    if of.whole.exists():
        return of.whole.stat().st_size, True
    if kept is not None and blobs.storage().has(of.sha256):
        return kept, True
    return (of.part.stat().st_size if of.part.exists() else 0), False


def _kept_sizes(wanted: Sequence[Piece]) -> dict[tuple[int, str], int]:
    """Which of these bytes are kept already for whom of those concerned, and how many each are."""
    accounts = {account.pk for one in wanted for account in (one.person, one.owner)}
    digests = {one.sha256 for one in wanted}
    files = CommitFile.objects.filter(commit__adapter__owner__in=accounts, blob__in=digests).order_by()
    rows = Release.objects.filter(adapter__owner__in=accounts, samples__in=digests).order_by()
    named = files.values_list("commit__adapter__owner", "blob", "blob__size").union(
        rows.values_list("adapter__owner", "samples", "samples__size")
    )
    return {(account, sha256): size for account, sha256, size in named}


def _size_of(one: Piece, kept: Mapping[tuple[int, str], int]) -> int | None:
    """What is kept for its owner, or for whoever sends it."""
    return kept.get((one.owner.pk, one.sha256), kept.get((one.person.pk, one.sha256)))


def received(of: Piece) -> tuple[int, bool]:
    """How many bytes are here, and whether that is all.

    Bytes that others uploaded do not count: to know a digest is no right to what it names.
    """
    return all_received([of])[of]


def append(of: Piece, body: Body, *, offset: int, size: int) -> tuple[int, bool]:
    """Add bytes from `offset` on; how many are here then, and whether that is all. What came of a body that
    breaks off stays. Raises Conflict where the bytes here end elsewhere, Invalid, TooLarge, StorageFull.
    """
    if size > settings.LIMITS.adapter_bytes:
        limit = settings.LIMITS.adapter_bytes
        raise TooLarge(f"the file has {size:,} bytes; at most {limit:,} are accepted")
    quota.check_room(of.owner, {of.sha256: size})
    space.check_room_for(size - offset)
    _forget_oldest(of, needed=size)
    with _held(of.part) as file:
        here, complete = received(of)
        if complete:
            return here, complete
        if here != offset:
            raise Conflict(f"{here} bytes are here, so go on from there, not from {offset}")
        _write(file, body, most=size - offset)
        file.flush()
        here = file.tell()
        if here == size:
            _compare(of)
    return here, here == size


@contextmanager
def staged(person: User, files: Mapping[str, str], owner: User | None = None) -> Iterator[list[StagedFile]]:
    """The files {path: sha256} of a release of `owner`, otherwise of the person, inside the `with`. Raises
    Invalid, and NotFound where bytes are missing.
    """
    pieces = {path: piece(person, sha256, owner) for path, sha256 in files.items()}
    with TemporaryDirectory(prefix="pieces-", dir=settings.TEMPORARY) as folder:
        here = all_received(pieces.values())
        missing = [path for path, one in pieces.items() if not here[one][1]]
        if missing:
            raise NotFound(f"the bytes of {', '.join(missing[:5])} are not here; upload them first")
        yield [
            _linked(path, one, Path(folder) / str(number))
            for number, (path, one) in enumerate(pieces.items())
        ]
        for one in pieces.values():
            one.whole.unlink(missing_ok=True)


def _linked(path: str, of: Piece, place: Path) -> StagedFile:
    """A name of its own for the bytes: what is kept is moved away."""
    try:
        source = of.whole if of.whole.exists() else blobs.local_path(of.sha256)
    except FileNotFoundError as error:
        raise NotFound(f"the bytes of {path} are no longer here; upload them again") from error
    try:
        place.hardlink_to(source)
    except OSError:  # another file system
        with source.open("rb") as original, place.open("xb") as copy:
            for chunk in content.chunks(original):
                copy.write(chunk)
    return StagedFile(path, place)


@contextmanager
def _held(path: Path) -> Iterator[BinaryIO]:
    """The file at its end, for this request alone."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0, os.SEEK_END)
        yield file


def _write(file: BinaryIO, body: Body, *, most: int) -> None:
    """As much as comes: a connection that breaks off leaves what came before."""
    left = most
    with suppress(UnreadablePostError):
        while left > 0 and (chunk := body.read(min(CHUNK, left))):
            file.write(chunk)
            left -= len(chunk)


def _compare(of: Piece) -> None:
    """Raises Invalid where the bytes are others than was said; they are not kept."""
    found = content.names_of(of.part).sha256
    if found != of.sha256:
        of.part.unlink(missing_ok=True)
        raise Invalid(
            f"the bytes that came have the digest {found}, not {of.sha256}; nothing of them was kept"
        )
    of.part.replace(of.whole)


def _forget_oldest(keep: Piece, *, needed: int) -> None:
    """One person's pieces weigh no more than one upload may: the oldest give way."""
    others = [
        path
        for path in settings.TEMPORARY.glob(f"piece-{keep.person.pk}-*")
        if path not in {keep.part, keep.whole}
    ]
    room = settings.LIMITS.request_bytes - needed - sum(path.stat().st_size for path in others)
    for path in sorted(others, key=lambda path: path.stat().st_mtime):
        if room >= 0:
            return
        room += path.stat().st_size
        path.unlink(missing_ok=True)
