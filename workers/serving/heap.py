"""One heap for all threads, where the C library would give each of them its own.

Index versions are read on threads that come and go. What such a thread leaves free in a heap of its own no
other thread may use, so a process that changes versions every few seconds grew by 60 % within six minutes;
with one heap it stays level (`python -m bench.soak`). Little is lost: in Python one thread runs at a time.
"""

from __future__ import annotations

import ctypes
import gc
import platform

ARENAS = -8  # M_ARENA_MAX of glibc's malloc.h


def share() -> bool:
    """Have all threads that begin from now on allocate in one heap; False without glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(ARENAS, 1))


def settle() -> None:
    """Have the collector of garbage never look again at what is here now: it stays for good.

    A full collection looks at all that was ever imported, loaded and compiled, for a tenth of a second or so,
    and nothing else runs meanwhile: answers under way would hear it.
    """
    gc.collect()
    gc.freeze()
