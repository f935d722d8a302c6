"""One heap for all threads, where the C library would give each of them its own.

Index versions are read on threads that come and go. What such a thread leaves free in a heap of its own no
other thread may use, so a process that changes versions every few seconds grew by 60 % within six minutes;
with one heap it stays level (`python -m bench.soak`). Little is lost: in Python one thread runs at a time.
"""

from __future__ import annotations

import ctypes
import platform

ARENAS = -8  # M_ARENA_MAX of glibc's malloc.h


def share() -> bool:
    """Have all threads that begin from now on allocate in one heap; False without glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    return bool(ctypes.CDLL(None).mallopt(ARENAS, 1))
