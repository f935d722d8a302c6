"""Remembering the latest few things that take long to work out: each once, and one at a time in a process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

Found = TypeVar("Found")
Turn = Callable[[], AbstractContextManager[None]]  # within which something may be worked out
_AT_WORK = threading.RLock()  # what is made may need something else that is made


@dataclass
class _Kept:
    found: Any
    again: bool = False  # asked for more than once


class Remembered:
    """Things by their keys, so many at most. Safe to use from threads.

    What is known is found without waiting for what is being made. Of what was asked for once alone the oldest
    is forgotten first: however many new things are asked for, what is wanted again and again stays.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(
        self,
        key: Hashable,
        make: Callable[[], Found],
        turn: Turn = nullcontext,
    ) -> Found:
        """What was made for this key, or is made now, in a `turn`; what either raises is not remembered."""
        known: list[Found] = self._known(key)
        if not known:
            with turn(), _AT_WORK:
                known = self._known(key) or [self._keep(key, make())]
        return known[0]

    def _known(self, key: Hashable) -> list[Any]:
        with self._lock:
            kept = self._kept.get(key)
            if kept is None:
                return []
            kept.again = True
            self._kept.move_to_end(key)
            return [kept.found]

    def _keep(self, key: Hashable, found: Found) -> Found:
        with self._lock:
            self._kept[key] = _Kept(found)
            if len(self._kept) > self._most:
                once = [other for other, kept in self._kept.items() if not kept.again and other != key]
                del self._kept[next(iter(once or self._kept))]
        return found
