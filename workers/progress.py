"""Tells the hub how a job goes, a few times a second at most."""

import time
from collections.abc import Callable

from hub.jobs import services as jobs
from hub.jobs.claims import Claim

SECONDS_BETWEEN = 0.3


def reporter(claim: Claim) -> Callable[[int, int, str], None]:
    """A callback `(done, total, note)` for long computations; the last step is never left out."""
    last = -SECONDS_BETWEEN

    def report(done: int, total: int, note: str = "") -> None:
        nonlocal last
        if done < total and time.monotonic() - last < SECONDS_BETWEEN:
            return
        last = time.monotonic()
        jobs.report_progress(claim, done, total, note)

    return report
