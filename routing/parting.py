"""Passes that failed for several answers together, each of which then reads alone: who is told of them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from routing.routed import RoutedModel

log = logging.getLogger(__name__)
SILENCE = 60.0  # seconds between two lines on the same base and kind of error: it may fail at every step

Parted = Callable[[str, str], None]


@dataclass
class Partings:
    """Of one engine. `told` hears of each: the base's name and the kind of error."""

    told: Parted
    _said: dict[tuple[str, str], float] = field(default_factory=dict)  # when, last (`time.monotonic`)

    def __call__(self, model: RoutedModel, answers: int, error: Exception) -> None:
        """So many answers are read one by one in this step."""
        base, kind = model.base.spec.name, type(error).__name__
        now = time.monotonic()
        if now - self._said.get((base, kind), -SILENCE) >= SILENCE:
            self._said[base, kind] = now
            log.warning(
                "%s: a pass failed for %d answers together; each reads alone, slower (said once in %.0f s)",
                base,
                answers,
                SILENCE,
                exc_info=error,
            )
        try:
            self.told(base, kind)
        except Exception:
            log.exception("a pass that failed could not be counted")
