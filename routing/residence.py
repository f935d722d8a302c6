"""Residence: things of known size in a bounded memory, made when they are first asked for.

What is asked for together comes together or not at all. It stays for as long as its `Stay` is held, and
after that until its room is needed, the least recently used first. What two ask for is made once, on the
thread of the first. Nothing is ever changed or freed under somebody: what is put out is forgotten here, and
its memory goes when nobody looks at it any more.

A part of the memory may be set aside for something else, as long as half of it stays.

Whoever finds no room waits in line, if anything has to be made for it. Who came later may go before as long
as what all of these hold leaves the first in line its room: so nobody waits for more than what was held when
it became the first.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from routing.aside import Aside, SetAside
from routing.errors import RoutingError
from routing.turns import ANYBODY, Asker
from routing.witness import Witness

log = logging.getLogger(__name__)
MEGABYTE = 2**20
SMALL = 10  # megabytes, of which hundredths are told
PATIENCE = 30.0  # seconds: how long somebody waits for room


class TooLarge(RoutingError):
    """What was asked for together is larger than the whole memory; `needed` and `limit` in bytes."""

    def __init__(self, needed: int, limit: int) -> None:
        super().__init__(f"found {megabytes(needed)}, expected at most {megabytes(limit)}")
        self.needed = needed
        self.limit = limit


class NoRoom(RoutingError):
    """The memory is full of what others hold, and was so for as long as one waits."""


@dataclass(frozen=True)
class Wanted:
    """Something to have in memory: its name, its size in bytes, and how to make it.

    With `parts` it is made of these, in their order, and they are needed no longer once it is made. What has
    no parts is called a member. `left` is shown what was made when it has to make room.
    """

    key: Hashable
    size: int
    make: Callable[..., Any]
    parts: tuple[Wanted, ...] = ()
    left: Callable[[Any], None] | None = None

    @property
    def whole(self) -> tuple[Wanted, ...]:
        """Itself, behind its parts."""
        return (*self.parts, self)


class Stay:
    """Keeps what was asked for in memory for as long as anybody holds this."""


@dataclass(eq=False)
class _Resident:
    """What is in memory, or is being made."""

    owner: str
    key: Hashable
    size: int
    member: bool
    left: Callable[[Any], None] | None
    stays: int = 0
    value: Future[Any] = field(default_factory=Future)

    @property
    def idle(self) -> bool:
        return not self.stays and self.value.done()


class _Entered(NamedTuple):
    """All that somebody needs, held, what of it is still to be made, and what had to go for it."""

    residents: Mapping[Hashable, _Resident]
    missing: Sequence[tuple[Wanted, _Resident]]
    gone: list[_Resident]


@dataclass(eq=False)
class _Waiter:
    """Who wants to enter. `passed`: what those got who went before it since it is the first in line.

    `bell` rings when something may have changed for it.
    """

    owner: str
    wanted: Sequence[Wanted]
    sizes: Mapping[Hashable, int]
    passed: set[Hashable] = field(default_factory=set)
    bell: SimpleQueue[None] = field(default_factory=SimpleQueue)
    entered: _Entered | None = None


class Residence:
    """A memory of so many bytes. Safe to use from threads."""

    def __init__(self, whole: int, *, patience: float = PATIENCE, witness: Witness | None = None) -> None:
        self.whole = whole
        self._patience = patience
        self._witness = witness
        self._residents: OrderedDict[Hashable, _Resident] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._line: deque[_Waiter] = deque()
        self._first: _Waiter | None = None  # of the line
        # A stay ends wherever its last reference goes, perhaps in the middle of anything: such queues alone
        # may be written to from there.
        self._ended: SimpleQueue[tuple[_Resident, ...]] = SimpleQueue()
        self._aside = SetAside(self._ring)

    @property
    def limit(self) -> int:
        """Bytes that may be in memory at once: all but what is set aside."""
        with self._lock:
            return self._limit()

    def set_aside(self, owner: str, size: int) -> Aside:
        """Keep so many bytes for something of this owner's; what nobody holds makes room.

        TooLarge, with what all that is set aside would take, if less than half of the memory would be left.
        """
        with self._lock:
            self._take_note()
            needed = self._aside.size + size
            if needed > self.whole // 2:
                raise TooLarge(needed, self.whole // 2)
            aside = self._aside.keep(owner, size)
            gone = self._make_room(0, ()) or []
        _show_out(gone)
        return aside

    def correct(self, aside: Aside, size: int) -> None:
        """What is set aside takes so many bytes, now that this is known."""
        with self._lock:
            self._take_note()
            self._aside.correct(aside, size)
            gone = self._make_room(0, ()) or []
        _show_out(gone)
        self._ring()

    def aside_of_others(self, owner: str) -> int:
        """Bytes that are set aside for the largest part of each other owner."""
        with self._lock:
            return self._aside.largest_of_others(owner)

    def _limit(self) -> int:
        """The limit, for somebody who has the lock."""
        return self.whole - self._aside.size

    def held(self, owner: str) -> tuple[int, int]:
        """How many members of an owner are in memory, and how many bytes with what was made of them."""
        with self._lock:
            own = [one for one in self._residents.values() if one.owner == owner]
        return sum(one.member for one in own), sum(one.size for one in own)

    @property
    def size(self) -> int:
        """Bytes in use."""
        return self._size

    @property
    def spare(self) -> int:
        """Bytes that may yet be taken; none where more is held than was left when some was set aside."""
        return max(0, self.limit - self._size)

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._line)

    def need(self, wanted: Iterable[Wanted]) -> int:
        """Bytes that these take while they are made, were nothing in memory."""
        return sum(_sizes(wanted).values())

    def require_fit(self, wanted: Sequence[Wanted]) -> None:
        """TooLarge if these can never be in memory together."""
        needed, limit = self.need(wanted), self.limit
        if needed > limit:
            raise TooLarge(needed, limit)

    def hold(self, owner: str, wanted: Sequence[Wanted], asker: Asker = ANYBODY) -> tuple[list[Any], Stay]:
        """The values of these, in their order, and what keeps them in memory.

        TooLarge, NoRoom, Left if the asker leaves while it waits for room, or whatever it was that making one
        of them raised.
        """
        self.require_fit(wanted)
        residents, missing, gone = self._enter(_Waiter(owner, wanted, _sizes(wanted)), asker)
        try:
            _show_out(gone)
            self._make(missing, residents)
            values = [residents[one.key].value.result() for one in wanted]
        except BaseException:
            self._leave(residents.values())
            raise
        lasting = {one.key for one in wanted}
        self._leave(resident for key, resident in residents.items() if key not in lasting)
        stay = Stay()
        held = tuple(resident for key, resident in residents.items() if key in lasting)
        weakref.finalize(stay, self._leave, held).atexit = False
        return values, stay

    def _enter(self, who: _Waiter, asker: Asker) -> _Entered:
        """What is needed, as soon as there is room for it; NoRoom if that takes too long."""
        asker.require_here()
        until = time.monotonic() + self._patience
        with self._lock:
            ended = self._take_note()
            self._line.append(who)
            self._let_in(list(self._line) if ended else [who])
        with asker.waiting(lambda: who.bell.put(None)):
            while who.entered is None and not asker.gone and (left := until - time.monotonic()) > 0:
                with contextlib.suppress(Empty):
                    if self._ended.empty():
                        who.bell.get(timeout=left)
                with self._lock:
                    self._take_note()
                    self._let_in(list(self._line))
        return who.entered or self._given_up(who, asker)

    def _given_up(self, who: _Waiter, asker: Asker) -> _Entered:
        """NoRoom, unless somebody has let it in at the last moment."""
        with self._lock:
            if who.entered is not None:
                return who.entered
            self._line.remove(who)
            self._let_in(list(self._line))
        asker.require_here()
        needed = megabytes(sum(who.sizes.values()))
        raise NoRoom(f"{needed} are needed, and others hold too much of {megabytes(self.limit)}")

    def _let_in(self, candidates: Iterable[_Waiter]) -> None:
        """Those of the line who find room, in their order, and nobody for whom the first would wait."""
        for who in candidates:
            first = self._line[0]
            if who is first or self._can_spare(first, who):
                who.entered = self._entered(who)
            if who.entered is not None:
                self._line.remove(who)
                first.passed.update(who.entered.residents)
                who.bell.put(None)
        first_now = self._line[0] if self._line else None
        if first_now is not self._first:
            self._first = first_now
            if first_now is not None:
                first_now.bell.put(None)  # for what ended meanwhile the one before may have been called

    def _can_spare(self, first: _Waiter, other: _Waiter) -> bool:
        """Whether the first in line has room once all is let go that was held before it was the first."""
        if sum(first.sizes.values()) > self._limit():
            return True  # since it came more was set aside: that is what it waits for
        passed = {key: self._residents[key] for key in first.passed if key in self._residents}
        busy = {key: one.size for key, one in passed.items() if not one.idle}
        first.passed = set(busy)
        return sum({**first.sizes, **busy, **other.sizes}.values()) <= self._limit()

    def _entered(self, who: _Waiter) -> _Entered | None:
        """All that is needed, held; None: there is no room."""
        needed = self._needed(who.wanted)
        missing = [one for key, one in needed.items() if key not in self._residents]
        gone = self._make_room(sum(one.size for one in missing), needed.keys())
        if gone is None:
            return None
        self._count(who.owner, who.wanted)
        made = [(one, _Resident(who.owner, one.key, one.size, not one.parts, one.left)) for one in missing]
        for _, resident in made:
            self._residents[resident.key] = resident
            self._size += resident.size
        residents = {key: self._residents[key] for key in needed}
        for key, resident in residents.items():
            resident.stays += 1
            self._residents.move_to_end(key)
        return _Entered(residents, made, gone)

    def _needed(self, wanted: Sequence[Wanted]) -> dict[Hashable, Wanted]:
        """What has to be there; of what is made already the parts are not asked for."""
        return {
            one.key: one
            for several in wanted
            for one in ((several,) if several.key in self._residents else several.whole)
        }

    def _make_room(self, size: int, kept: Iterable[Hashable]) -> list[_Resident] | None:
        """Put out what nobody holds, the least recently used first; None, and nobody, if it is too little.

        Who needs no more (a size of zero) is let in however much is held: some was perhaps set aside since.
        """
        gone: list[_Resident] = []
        limit = self._limit()
        if self._size + size <= limit:
            return gone
        keep = set(kept)
        idle = [one for key, one in self._residents.items() if one.idle and key not in keep]
        if size and self._size + size - sum(one.size for one in idle) > limit:
            return None
        for resident in idle:
            if self._size + size <= limit:
                break
            self._forget(resident)
            gone.append(resident)
            if self._witness is not None and resident.member:
                self._witness.put_out(resident.owner)
        return gone

    def _make(
        self, missing: Sequence[tuple[Wanted, _Resident]], residents: Mapping[Hashable, _Resident]
    ) -> None:
        """Make what is missing. What fails is forgotten; the others are made: somebody may wait for them."""
        for wanted, resident in missing:
            began = time.monotonic()
            try:
                parts = [residents[part.key].value.result() for part in wanted.parts]
                value = wanted.make(*parts)
            except BaseException as error:  # noqa: BLE001 - told to everybody who waits for it
                with self._lock:
                    self._forget(resident)
                resident.value.set_exception(error)
                continue
            if self._witness is not None and resident.member:
                self._witness.made(resident.owner, time.monotonic() - began)
            resident.value.set_result(value)

    def _leave(self, residents: Iterable[_Resident]) -> None:
        """These are held by one less. May be called from anywhere."""
        self._ended.put(tuple(residents))
        self._ring()

    def _ring(self) -> None:
        """Call the first in line, as there may be room. May be called from anywhere."""
        if (first := self._first) is not None:
            first.bell.put(None)

    def _take_note(self) -> bool:
        """Count the stays that have ended; whether any has."""
        noted = False
        while not self._ended.empty():
            for resident in self._ended.get():
                resident.stays -= 1
                noted = True
        return noted

    def _forget(self, resident: _Resident) -> None:
        if self._residents.get(resident.key) is resident:
            del self._residents[resident.key]
            self._size -= resident.size

    def _count(self, owner: str, wanted: Sequence[Wanted]) -> None:
        if self._witness is None:
            return
        members = {part.key: one for one in wanted for part in (one.parts or (one,))}
        there = sum(key in self._residents or whole.key in self._residents for key, whole in members.items())
        self._witness.asked(owner, there, len(members) - there)


def _show_out(gone: list[_Resident]) -> None:
    """Let go of these one by one, before anything is made in their room; some are kept elsewhere."""
    while gone:
        resident = gone.pop(0)
        try:
            if resident.left is not None:
                resident.left(resident.value.result())
        except Exception:
            log.exception("%s: what had to make room could not be kept elsewhere", resident.owner)


def _sizes(wanted: Iterable[Wanted]) -> dict[Hashable, int]:
    """By key, the bytes of these and of their parts."""
    return {one.key: one.size for several in wanted for one in several.whole}


def megabytes(size: int) -> str:
    """A number of bytes as people read it, in the units of the command line."""
    found = size / MEGABYTE
    return f"{found:.2f} MB" if found < SMALL else f"{found:.1f} MB"
