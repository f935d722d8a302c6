"""Loops that numba compiles for this processor, and keeps for the next process where a folder can be written.

numba tries `NUMBA_CACHE_DIR`, the folder of the source and the user's cache, in this order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit

log = logging.getLogger(__name__)
settings: Any = config  # numba makes its names when it is imported


def kept(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: `njit` with these options, for a loop that runs without the interpreter's lock.

    njit(cache=True) fails where no folder can be written; there each process compiles the loop for itself.
    """

    def decorate(loop: Callable[..., Any]) -> Any:
        try:
            compiled = njit(nogil=True, cache=True, **options)(loop)
        except RuntimeError as error:
            _say_that_none_is_kept(str(error).partition(": ")[2])
            return njit(nogil=True, **options)(loop)
        found, wanted = Path(compiled.stats.cache_path), settings.CACHE_DIR
        if wanted and Path(wanted) not in found.parents:
            _say_where_else(wanted, found.parent)
        return compiled

    return decorate


@cache
def _say_that_none_is_kept(reason: str) -> None:
    log.warning("no folder for compiled loops can be written, each start compiles them again: %s", reason)


@cache
def _say_where_else(wanted: str, found: Path) -> None:
    log.warning("compiled loops are kept in %s: NUMBA_CACHE_DIR=%s cannot be written", found, wanted)
