"""Memory that was found free for something and is not in use yet: nobody else may count on it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from routing.errors import RoutingError


class NotEnoughMemory(RoutingError):
    """More memory is needed than is free."""


def nothing() -> int:
    """Nobody else is to be thought of."""
    return 0


@dataclass(frozen=True)
class Found:
    """Bytes of a device that were not in use, and which of them are for others."""

    free: int
    promised: int
    kept: int

    def __str__(self) -> str:
        others = {
            "what is being loaded beside it": self.promised,
            "what answers may yet take (--memory-megabytes)": self.kept,
        }
        said = [f", {size / 2**30:.2f} of them for {whom}" for whom, size in others.items() if size]
        return f"{self.free / 2**30:.2f} GiB are free{''.join(said)}"


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
        kept: Callable[[], int],
        refusal: Callable[[Found], NotEnoughMemory],
    ) -> Iterator[Promise]:
        """So much is there for whoever takes it before the block ends.

        `free` says what is not in use, None where nobody knows, and `kept` what of it is to be left alone. If
        too little is left, what `refusal` makes of these figures is raised.
        """
        left_alone = kept()  # before what is free is looked up: what is taken in between is counted twice
        with self._lock:
            unused = free(device)
            if unused is not None:
                found = Found(unused, self._sizes[device], left_alone)
                if needed > found.free - found.promised - found.kept:
                    raise refusal(found)
            self._sizes[device] += needed
        promise = Promise(lambda size: self._add(device, -size), needed)
        try:
            yield promise
        finally:
            promise.end()

    def of(self, device: torch.device) -> int:
        """Bytes that are free there and somebody's."""
        with self._lock:
            return self._sizes[device]

    def _add(self, device: torch.device, size: int) -> None:
        with self._lock:
            self._sizes[device] += size


PROMISES = Promises()  # of this process: whoever assembles something in it takes from the same memory
