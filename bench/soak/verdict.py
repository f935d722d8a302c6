"""The verdict over a soak: nothing went wrong that was not the client's fault, and nothing grows."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.soak.tally import Tally
from bench.soak.watching import Sample
from workers.serving import library

JUDGED_FROM = 10.0  # minutes; before, an allocator and a cache that warm up look like a leak
GROWTH = 0.05  # of its size in an hour
PLATEAU = 1.05
FEW = 8  # threads or files more than before
ERROR_LINE = re.compile(r" ERROR | CRITICAL |^Traceback|Exception in")
REFUSAL = re.compile(rf"{re.escape(library.__name__)} library soak: {library.REFUSED}: version \d+: ")


@dataclass(frozen=True)
class Criterion:
    """One thing that must hold: what was found, and what is right."""

    name: str
    found: str
    expected: str
    holds: bool


@dataclass(frozen=True)
class Rest:
    """The process when nobody asks, before the soak and after it, and how it ended."""

    before: Sample
    after: Sample
    exit_status: int


def criteria(samples: Sequence[Sample], tally: Tally, rest: Rest, log: Path) -> list[Criterion]:
    """All that must hold."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if ERROR_LINE.search(line)]
    strange = [line for line in lines if not REFUSAL.search(line)]
    recalled = tally.outcomes["tokens recalled"]
    found = [
        Criterion("answers that were not as promised", str(tally.faults), "0", not tally.faults),
        Criterion("errors in its log, but for refused versions", str(len(strange)), "0", not strange),
        Criterion("tokens recalled in conversations", str(recalled), "some", recalled > 0),
        Criterion(
            "running and waiting when nobody asks",
            f"{rest.after.running:.0f} and {rest.after.waiting:.0f}",
            "0 and 0",
            not rest.after.running and not rest.after.waiting,
        ),
        Criterion(
            "open files when nobody asks, before and after",
            f"{rest.before.files:.0f} and {rest.after.files:.0f}",
            f"no more than {FEW} more",
            rest.after.files <= rest.before.files + FEW,
        ),
        Criterion(
            "how it ended when told to", str(rest.exit_status), "0 or -15", rest.exit_status in (0, -15)
        ),
    ]
    return found + _growth(samples)


def _growth(samples: Sequence[Sample]) -> list[Criterion]:
    """What may not grow; of a short soak nothing is said."""
    minutes = (samples[-1].at - samples[0].at) / 60
    if minutes < JUDGED_FROM:
        return [Criterion("growth", "not judged", f"at least {JUDGED_FROM:.0f} minutes", holds=True)]
    half = _between(samples, 0.5, 1.0)
    size = statistics.median(sample.rss for sample in half)
    slope = _slope([sample.at / 3600 for sample in half], [sample.rss for sample in half])
    return [
        Criterion(
            "memory's slope over the second half, MB an hour",
            f"{slope:+.1f}",
            f"below {GROWTH * size:.1f} ({GROWTH:.0%} of {size:.0f} MB)",
            slope < GROWTH * size,
        ),
        _plateau("memory, MB", samples, lambda sample: sample.rss, lambda most: most * PLATEAU),
        _plateau("threads", samples, lambda sample: sample.threads, lambda most: most + FEW),
        _plateau("open files", samples, lambda sample: sample.files, lambda most: most + FEW),
    ]


def _plateau(
    name: str, samples: Sequence[Sample], of: Callable[[Sample], float], allowed: Callable[[float], float]
) -> Criterion:
    """The most of the last quarter against the most of the second one."""
    second = max(map(of, _between(samples, 0.25, 0.5)))
    last = max(map(of, _between(samples, 0.75, 1.0)))
    return Criterion(
        f"{name}: most in the second and in the last quarter",
        f"{second:.0f} and {last:.0f}",
        f"at most {allowed(second):.0f}",
        last <= allowed(second),
    )


def _between(samples: Sequence[Sample], first: float, last: float) -> list[Sample]:
    begin, length = samples[0].at, samples[-1].at - samples[0].at
    return [sample for sample in samples if first <= (sample.at - begin) / length <= last]


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Of the line with the least squares."""
    return statistics.linear_regression(x, y).slope
