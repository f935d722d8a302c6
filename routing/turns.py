"""Turns: few at once may do what takes a whole processor, and who asks for much of it lets the others by."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class Left(Exception):
    """Who asked is gone: nothing more is to be worked out for them."""


class Asker:
    """For whom something is worked out: a name that tells them from others, and whether they still wait.

    Without `turns` nobody else's work is in the way. Safe to use from threads.
    """

    def __init__(self, name: Hashable = None, turns: Turns | None = None) -> None:
        self.name = name
        self._turns = turns
        self._gone = False
        self._bells: list[Callable[[], None]] = []

    @property
    def gone(self) -> bool:
        """Whether they have left."""
        return self._gone

    def leave(self) -> None:
        """Wait no longer: whatever is worked out for this asker ends where it asks next."""
        self._gone = True
        for bell in [*self._bells]:
            bell()

    @contextmanager
    def waiting(self, bell: Callable[[], None]) -> Iterator[None]:
        """Ring this bell if they leave within this; who waits then looks whether they have."""
        self._bells.append(bell)
        try:
            yield
        finally:
            self._bells.remove(bell)

    def require_here(self) -> None:
        """Left if they have."""
        if self._gone:
            raise Left

    @contextmanager
    def turn(self, cost: float) -> Iterator[None]:
        """Do within this what should not be done by many at once; Left if it is not wanted any more."""
        self.require_here()
        if self._turns is None:
            yield
            return
        self._turns.take(self, cost)
        try:
            self.require_here()
            yield
        finally:
            self._turns.give_back(self)


ANYBODY = Asker()


@dataclass(eq=False)
class _Waiter:
    asker: Asker
    cost: float
    called: bool = False


class Turns:
    """So many turns at once, and one of each name.

    Next is whoever has had least, counted by what their turns cost; who comes back after a while has no less
    than who was there (start-time fair queueing, doi:10.1109/90.649569).
    """

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: list[_Waiter] = []
        self._under_way: set[Hashable] = set()
        self._had: dict[Hashable, float] = {}  # only where it is more than `_least`
        self._least = 0.0
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many wait for one."""
        return len(self._waiting)

    def take(self, asker: Asker, cost: float) -> None:
        """Wait for a turn; Left if the asker leaves before it comes."""
        waiter = _Waiter(asker, cost)
        with asker.waiting(self._look), self._changed:
            self._waiting.append(waiter)
            self._call()
            while not waiter.called:
                if asker.gone:
                    self._waiting.remove(waiter)
                    raise Left
                self._changed.wait()

    def give_back(self, asker: Asker) -> None:
        """End a turn."""
        with self._changed:
            self._free += 1
            self._under_way.discard(asker.name)
            self._call()

    def _look(self) -> None:
        """Have everybody who waits look whether they still want to."""
        with self._changed:
            self._changed.notify_all()

    def _call(self) -> None:
        """Call whose turn it is, as long as there are turns."""
        while self._free and (may := [one for one in self._waiting if self._may(one)]):
            waiter = min(may, key=lambda one: self._begins(one.asker.name))  # of equals the first
            self._least = self._begins(waiter.asker.name)
            self._had[waiter.asker.name] = self._least + waiter.cost
            self._had = {name: had for name, had in self._had.items() if had > self._least}
            self._waiting.remove(waiter)
            self._under_way.add(waiter.asker.name)
            self._free -= 1
            waiter.called = True
        self._changed.notify_all()

    def _may(self, waiter: _Waiter) -> bool:
        return waiter.asker.name not in self._under_way

    def _begins(self, name: Hashable) -> float:
        return max(self._least, self._had.get(name, 0.0))
