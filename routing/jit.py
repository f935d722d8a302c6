"""Loops that numba compiles for this processor, and keeps for the next process where a folder can be written.

numba takes a kept loop for the newest as long as the loop's own file is what it was. Ours are made of several
files (what is inlined, widths, instructions), so each state of them has a folder of its own: in
`NUMBA_CACHE_DIR`, beside the source or in the user's cache, whichever can be written first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit

log = logging.getLogger(__name__)
settings: Any = config  # numba makes its names when it is imported
HERE = Path(__file__).parent
PREFIX = "loops-"
STATES = 4  # folders of other states that may stay, for who goes back to one


def kept(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: `njit` with these options, for a loop that runs without the interpreter's lock.

    njit(cache=True) fails where no folder can be written; there each process compiles the loop for itself.
    """

    def decorate(loop: Callable[..., Any]) -> Any:
        wanted = settings.CACHE_DIR
        reason = "no folder was found"
        for base in _folders(wanted, Path(loop.__code__.co_filename)):
            folder = base / f"{PREFIX}{state()}"
            settings.CACHE_DIR = str(folder)
            try:
                compiled = njit(nogil=True, cache=True, **options)(loop)
            except RuntimeError as error:
                reason = str(error).partition(": ")[2]
                continue
            finally:
                settings.CACHE_DIR = wanted
            if folder in Path(compiled.stats.cache_path).parents:
                _forget_others(base)
                if wanted and base != Path(wanted):
                    _say_where_else(wanted, base)
                return compiled
        _say_that_none_is_kept(reason)
        return njit(nogil=True, **options)(loop)

    return decorate


def sources() -> list[Path]:
    """The files that loops are made of."""
    return sorted(
        [
            *HERE.glob("*_loops.py"),
            *(HERE / f"{name}.py" for name in ("jit", "kernels", "panel_numbers", "vectors")),
        ]
    )


@cache
def state() -> str:
    """What these files are now."""
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources())).hexdigest()[:16]


def _folders(wanted: str, source: Path) -> Iterator[Path]:
    if wanted:
        yield Path(wanted)
    yield source.parent / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fletch"


@cache
def _forget_others(base: Path) -> None:
    """Leave the latest states; who runs with another has its loops in memory."""
    others = [path for path in base.glob(f"{PREFIX}*") if path.name != f"{PREFIX}{state()}"]
    for path in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[STATES:]:
        shutil.rmtree(path, ignore_errors=True)


@cache
def _say_that_none_is_kept(reason: str) -> None:
    log.warning("no folder for compiled loops can be written, each start compiles them again: %s", reason)


@cache
def _say_where_else(wanted: str, found: Path) -> None:
    log.warning("compiled loops are kept in %s: NUMBA_CACHE_DIR=%s cannot be written", found, wanted)
