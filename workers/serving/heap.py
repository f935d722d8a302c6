"""One heap for all threads, where the C library would give each of them its own.

Index versions are read on threads that come and go. What such a thread leaves free in a heap of its own no
other thread may use, so a process that changes versions every few seconds grew by 60 % within six minutes;
with one heap it stays level (`python -m bench.soak`). Little is lost: in Python one thread runs at a time.
"""

from __future__ import annotations

import ctypes
import gc
import platform
import time
from collections.abc import Callable

ARENAS = -8  # M_ARENA_MAX of glibc's malloc.h
NEVER = 2**31 - 1  # a threshold that is not reached, and the largest there is
WHEN_IDLE, AT_LATEST = 10.0, 300.0  # seconds between two full collections: while nobody is answered, and ever


def share() -> bool:
    """Have all threads that begin from now on allocate in one heap; False without glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(ARENAS, 1))


def settle() -> None:
    """Have the collector of garbage never look again at what is here now: it stays for good.

    A full collection looks at all that was ever imported, loaded and compiled, for a tenth of a second or so,
    and nothing else runs meanwhile: answers under way would hear it. What became free on the way goes back to
    the system, where others can have it: reading thousands of experts leaves as much behind as they take.
    """
    gc.collect()
    gc.freeze()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def collect_when_told() -> None:
    """Leave full collections to a `Collector`; of what is young, garbage is found as before.

    Since little is left to look at behind `settle`, the interpreter would look at all of it every few seconds
    while versions come and go, and each time answers would wait for 50 ms and more.
    """
    young, older, _ = gc.get_threshold()
    gc.set_threshold(young, older, NEVER)


class Collector:
    """Full collections at moments when nobody waits, or else seldom."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._used = False

    def look(self, *, busy: bool) -> None:
        """Collect if it is time to; asked between two steps, and again and again while there are none."""
        self._used |= busy
        if self._used and self._clock() - self._last >= (AT_LATEST if busy else WHEN_IDLE):
            gc.collect()
            self._last, self._used = self._clock(), False
