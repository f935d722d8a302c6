"""What is wrong with a library: what the store wants, why it is not served, and when it is tried again."""

from __future__ import annotations

import time
from dataclasses import dataclass

from routing.store import Current, LibraryRef
from workers.serving.promises import NotEnoughMemory

LONGEST = 300.0  # seconds between two tries of the same thing


@dataclass(frozen=True)
class Wish:
    """What the store says a library is: on which base, and at which version (None: none is published yet)."""

    ref: LibraryRef
    current: Current | None


@dataclass(frozen=True)
class Problem:
    """Why a wish is not served; tried again at `retry_at`, or at once if the store wishes something else."""

    wish: Wish
    version: Current | None  # that is not served, where it is known which
    reason: str
    tries: int
    retry_at: float

    @property
    def said(self) -> str:
        """The reason, behind what it is about."""
        return self.reason if self.version is None else f"version {self.version.number}: {self.reason}"


def problem_of(
    wish: Wish,
    version: Current | None,
    error: Exception,
    before: Problem | None,
    *,
    retry_seconds: float,
) -> Problem:
    """What is wrong now, with a version that is not served; each try of a wish is after twice as long a wait.

    What lacks memory has not been assembled, so it costs nothing to look again soon.
    """
    tries = before.tries + 1 if before is not None and before.wish == wish else 1
    wait = min(retry_seconds * 2.0 ** min(tries - 1, 32), max(LONGEST, retry_seconds))
    if isinstance(error, NotEnoughMemory):
        wait = retry_seconds
    return Problem(wish, version, reason_of(error), tries, time.monotonic() + wait)


def reason_of(error: Exception) -> str:
    """An error in words."""
    return f"{type(error).__name__}: {error}"
