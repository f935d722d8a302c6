"""Fast ways that are taken only where a trial found them right; elsewhere torch computes the same."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def tried(module: str, trial: Callable[[Any], None], say: Callable[[str], None], instead: str) -> Any | None:
    """The module, if it loads and passes its trial; None if not, having said once what happens instead.

    A compiler, a driver or a private operator can fail in any way, so every exception counts.
    """
    try:
        found = importlib.import_module(module)
        trial(found)
    except Exception as error:  # noqa: BLE001 - as above
        say(f"{instead}: {type(error).__name__}: {error}")
        return None
    return found
