"""Fast ways that are taken only where a trial found them right; elsewhere torch computes the same.

One that fails later is withdrawn: torch takes over, for what it was asked and from then on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch

WITHDRAWN: set[str] = set()  # of the ways that have failed since their trial, what happens instead


class Partly(Exception):
    """A way failed when it had written some of its output already: the whole pass has to be run again."""


def tried(module: str, trial: Callable[[Any], None], say: Callable[[str], None], instead: str) -> Any | None:
    """The module, if it loads and passes its trial; None if not, having said once what happens instead.

    A compiler, a driver or a private operator can fail in any way, so every exception counts.
    """
    if instead in WITHDRAWN:
        return None
    try:
        found = importlib.import_module(module)
        trial(found)
    except Exception as error:  # noqa: BLE001 - as above
        say(f"{instead}: {type(error).__name__}: {error}")
        return None
    return found


def withdraw(error: Exception, say: Callable[[str], None], instead: str) -> None:
    """Have a way that failed not taken any more, and say once what happens instead.

    The error itself where memory was short, which is no fault of the way.
    """
    require_fault(error)
    if instead not in WITHDRAWN:
        WITHDRAWN.add(instead)
        say(f"from now on {instead}: {type(error).__name__}: {error}")


def require_fault(error: Exception) -> None:
    """The error itself, unless it says that something is wrong with what was run."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        raise error
