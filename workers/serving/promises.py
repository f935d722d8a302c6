"""Memory that was found free for something and is not in use yet: nobody else may count on it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from routing.errors import RoutingError


class NotEnoughMemory(RoutingError):
    """More memory is needed than is free."""


class Promise:
    """Bytes that somebody is about to take."""

    def __init__(self, give_back: Callable[[int], None], size: int) -> None:
        self._give_back = give_back
        self._left = size

    def taken(self, size: int) -> None:
        """So much of it is in use by now, and no longer free for anybody."""
        part = min(size, self._left)
        self._left -= part
        self._give_back(part)

    def end(self) -> None:
        """All is taken that ever will be."""
        self.taken(self._left)


class Promises:
    """What is promised of each device's memory. Safe to use from threads; nobody waits for anybody."""

    def __init__(self) -> None:
        self._sizes: Counter[torch.device] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def promised(
        self,
        device: torch.device,
        needed: int,
        *,
        free: Callable[[torch.device], int | None],
        refusal: Callable[[int, int], NotEnoughMemory],
    ) -> Iterator[Promise]:
        """So much is there for whoever takes it before the block ends.

        `free` says what is not in use, None where nobody knows. If too little of it is left, what `refusal`
        makes of the free and the promised bytes is raised.
        """
        with self._lock:
            found, others = free(device), self._sizes[device]
            if found is not None and needed > found - others:
                raise refusal(found, others)
            self._sizes[device] += needed
        promise = Promise(lambda size: self._add(device, -size), needed)
        try:
            yield promise
        finally:
            promise.end()

    def _add(self, device: torch.device, size: int) -> None:
        with self._lock:
            self._sizes[device] += size


PROMISES = Promises()  # of this process: whoever assembles something in it takes from the same memory
