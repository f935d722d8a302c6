"""Residence: things of known size in a bounded memory, made when they are first asked for.

What is asked for together comes together or not at all. It stays for as long as its `Stay` is held, and after
that until its room is needed, the least recently used first. Whoever finds no room waits; what two ask for is
made once, on the thread of the first. Nothing is ever changed or freed under somebody: what is put out is
forgotten here, and its memory goes when nobody looks at it any more.
"""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from routing.errors import RoutingError

MEGABYTE = 2**20
PATIENCE = 30.0  # seconds: how long somebody waits for room


class TooLarge(RoutingError):
    """What was asked for together is larger than the whole memory; `needed` and `limit` in bytes."""

    def __init__(self, needed: int, limit: int) -> None:
        super().__init__(f"found {megabytes(needed)}, expected at most {megabytes(limit)}")
        self.needed = needed
        self.limit = limit


class NoRoom(RoutingError):
    """The memory is full of what others hold, and was so for as long as one waits."""


class Witness(Protocol):
    """Who is told what happens, by the name of the owner for whom it does."""

    def asked(self, owner: str, there: int, missing: int) -> None:
        """So many members were asked for that were in memory, and so many that were not."""

    def made(self, owner: str, seconds: float) -> None:
        """A member was made."""

    def put_out(self, owner: str) -> None:
        """A member had to make room."""


@dataclass(frozen=True)
class Wanted:
    """Something to have in memory: its name, its size in bytes, and how to make it.

    With `parts` it is made of these, in their order, and they are needed no longer once it is made. What has
    no parts is called a member.
    """

    key: Hashable
    size: int
    make: Callable[..., Any]
    parts: tuple[Wanted, ...] = ()

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
    stays: int = 0
    value: Future[Any] = field(default_factory=Future)

    @property
    def idle(self) -> bool:
        return not self.stays and self.value.done()


_ToMake = list[tuple[Wanted, _Resident]]
_Entered = tuple[Mapping[Hashable, _Resident], _ToMake]


class Residence:
    """A memory of so many bytes. Safe to use from threads."""

    def __init__(self, limit: int, *, patience: float = PATIENCE, witness: Witness | None = None) -> None:
        self.limit = limit
        self._patience = patience
        self._witness = witness
        self._residents: OrderedDict[Hashable, _Resident] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._turn = threading.Lock()  # of those who wait for room one is first
        # A stay ends wherever its last reference goes, perhaps in the middle of anything: such a queue alone
        # may be written to from there.
        self._ended: SimpleQueue[tuple[_Resident, ...]] = SimpleQueue()

    def held(self, owner: str) -> tuple[int, int]:
        """How many members of an owner are in memory, and how many bytes with what was made of them."""
        with self._lock:
            own = [one for one in self._residents.values() if one.owner == owner]
        return sum(one.member for one in own), sum(one.size for one in own)

    @property
    def size(self) -> int:
        """Bytes in use."""
        return self._size

    def need(self, wanted: Iterable[Wanted]) -> int:
        """Bytes that these take while they are made, were nothing in memory."""
        return sum({one.key: one.size for several in wanted for one in several.whole}.values())

    def require_fit(self, wanted: Sequence[Wanted]) -> None:
        """TooLarge if these can never be in memory together."""
        needed = self.need(wanted)
        if needed > self.limit:
            raise TooLarge(needed, self.limit)

    def hold(self, owner: str, wanted: Sequence[Wanted]) -> tuple[list[Any], Stay]:
        """The values of these, in their order, and what keeps them in memory.

        TooLarge, NoRoom, or whatever it was that making one of them raised.
        """
        self.require_fit(wanted)
        residents, mine = self._enter(owner, wanted) or self._enter_when_there_is_room(owner, wanted)
        try:
            self._make(mine, residents)
            values = [residents[one.key].value.result() for one in wanted]
        except BaseException:
            self._leave(residents.values())
            raise
        lasting = {one.key for one in wanted}
        self._leave(resident for key, resident in residents.items() if key not in lasting)
        stay = Stay()
        held = tuple(resident for key, resident in residents.items() if key in lasting)
        weakref.finalize(stay, self._ended.put, held).atexit = False
        return values, stay

    def _enter_when_there_is_room(self, owner: str, wanted: Sequence[Wanted]) -> _Entered:
        """As `_enter`, at last; NoRoom if it takes too long."""
        until = time.monotonic() + self._patience
        if not self._turn.acquire(timeout=self._patience):
            raise self._no_room(wanted)
        try:
            gc.collect()  # a failed request's memory may hang on its own traceback, in a circle
            while (entered := self._enter(owner, wanted)) is None:
                left = until - time.monotonic()
                if left <= 0:
                    raise self._no_room(wanted)
                self._wait(left)
            return entered
        finally:
            self._turn.release()

    def _enter(self, owner: str, wanted: Sequence[Wanted]) -> _Entered | None:
        """All that is needed for these, held, and what of it is to be made by the caller; None: no room."""
        with self._lock:
            self._take_note()
            needed = self._needed(wanted)
            missing = [one for key, one in needed.items() if key not in self._residents]
            if not self._make_room(sum(one.size for one in missing), needed.keys()):
                return None
            self._count(owner, wanted)
            mine = [(one, _Resident(owner, one.key, one.size, not one.parts)) for one in missing]
            for _, resident in mine:
                self._residents[resident.key] = resident
                self._size += resident.size
            residents = {key: self._residents[key] for key in needed}
            for key, resident in residents.items():
                resident.stays += 1
                self._residents.move_to_end(key)
        return residents, mine

    def _needed(self, wanted: Sequence[Wanted]) -> dict[Hashable, Wanted]:
        """What has to be there; of what is made already the parts are not asked for."""
        return {
            one.key: one
            for several in wanted
            for one in ((several,) if several.key in self._residents else several.whole)
        }

    def _make_room(self, size: int, kept: Iterable[Hashable]) -> bool:
        """Put out what nobody holds, the least recently used first, but nothing if that is not enough."""
        if self._size + size <= self.limit:
            return True
        keep = set(kept)
        idle = [one for key, one in self._residents.items() if one.idle and key not in keep]
        if self._size + size - sum(one.size for one in idle) > self.limit:
            return False
        for resident in idle:
            if self._size + size <= self.limit:
                break
            self._forget(resident)
            if self._witness is not None and resident.member:
                self._witness.put_out(resident.owner)
        return True

    def _make(self, mine: _ToMake, residents: Mapping[Hashable, _Resident]) -> None:
        """Make what is missing. What fails is forgotten; the others are made: somebody may wait for them."""
        for wanted, resident in mine:
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
        self._ended.put(tuple(residents))

    def _wait(self, seconds: float) -> None:
        """Until a stay ends, at most so long."""
        try:
            self._ended.put(self._ended.get(timeout=seconds))
        except Empty:
            return

    def _take_note(self) -> None:
        """Count the stays that have ended."""
        while not self._ended.empty():
            for resident in self._ended.get():
                resident.stays -= 1

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

    def _no_room(self, wanted: Sequence[Wanted]) -> NoRoom:
        return NoRoom(
            f"{megabytes(self.need(wanted))} are needed, and others hold too much of {megabytes(self.limit)}"
        )


def megabytes(size: int) -> str:
    """A number of bytes as people read it, in the units of the command line."""
    return f"{size / MEGABYTE:.1f} MB"
