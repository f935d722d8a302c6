"""Parts of a memory that are set aside for something else, and given back with its last user."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue


@dataclass(frozen=True, eq=False)
class Aside:
    """Keeps a part of the memory for as long as anybody holds this."""

    number: int


class SetAside:
    """What is set aside of one memory, by owner. For one thread at a time; parts may end on any other."""

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        """`told` hears that a part has ended, wherever that is."""
        self._told = told
        self._parts: dict[int, tuple[str, int]] = {}
        self._numbers = itertools.count()
        # A part ends wherever its last reference goes, perhaps in the middle of this: it only leaves word.
        self._ended: SimpleQueue[int] = SimpleQueue()

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(size for _, size in self._current().values())

    def keep(self, owner: str, size: int) -> Aside:
        """A part of so many bytes, until nobody holds what is returned."""
        number = next(self._numbers)
        self._parts[number] = owner, size
        aside = Aside(number)
        weakref.finalize(aside, self._end, number).atexit = False
        return aside

    def correct(self, aside: Aside, size: int) -> None:
        """It takes so many bytes."""
        owner, _ = self._parts[aside.number]
        self._parts[aside.number] = owner, size

    def largest_of_others(self, owner: str) -> int:
        """Bytes of the largest part of each other owner."""
        largest: dict[str, int] = {}
        for whose, size in self._current().values():
            largest[whose] = max(size, largest.get(whose, 0))
        return sum(size for whose, size in largest.items() if whose != owner)

    def _end(self, number: int) -> None:
        self._ended.put(number)
        self._told()

    def _current(self) -> dict[int, tuple[str, int]]:
        while not self._ended.empty():
            del self._parts[self._ended.get()]
        return self._parts
