"""How far it can be believed that a prompt is for an expert: the reliability diagram of its page.

What is stated is the probability of the library's classifier of prompts, the only router here that states
one. Arrow compares lengths of projections and PHATGOOSE directions of gates: both rank experts at a token,
and neither says how likely it is that one of them is right.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.adapters.models import Release
from hub.indexes import queries

BINS = 10
LIKELY = 0.5
SIDE, LEFT, TOP = 260, 44, 10  # of the square that is drawn, and where it begins
LARGEST, SMALLEST = 9.0, 3.5  # radius of a dot
TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
DEVIATIONS = 1.96  # of a normal distribution, to each side of 95 %


@dataclass(frozen=True)
class Bin:
    """Held-out prompts by what was stated of them, with a 95 % interval of how many are the expert's."""

    low: float
    high: float
    prompts: int
    stated: float
    own: int
    least: float
    most: float

    @property
    def share(self) -> float:
        return self.own / self.prompts


@dataclass(frozen=True)
class Point:
    """A bin as it is drawn."""

    x: float
    y: float
    radius: float
    top: float
    bottom: float
    label: str


@dataclass(frozen=True)
class Tick:
    across: float
    up: float
    label: str


@dataclass(frozen=True)
class Reliability:
    """`error` is the expected calibration error; `likely` are the bins from a half on, taken together."""

    version: int
    bins: Sequence[Bin]
    prompts: int
    own: int
    error: float
    likely: Bin | None
    points: Sequence[Point]
    ticks: Sequence[Tick]
    left: float = LEFT
    right: float = LEFT + SIDE
    top: float = TOP
    bottom: float = TOP + SIDE
    width: float = LEFT + SIDE + 16
    height: float = TOP + SIDE + 44


@dataclass(frozen=True)
class Calibration:
    """What a page says: a diagram, or why there is none."""

    found: Reliability | None
    why_not: str = ""


def of_release(release: Release) -> Calibration:
    """One question to the database. Of the adapter, whichever of its releases was a member then."""
    learnt = queries.reliability_of(release.library, release.adapter.full_name)
    if learnt is None:
        return Calibration(
            None,
            "No classifier of prompts was trained for this library yet: that takes two experts with five "
            "sample prompts each, and a library that reads them.",
        )
    number, bins, is_recorded = learnt
    if not is_recorded:
        return Calibration(
            None,
            f"The classifier of version {number} was trained before this was measured; the next one will be.",
        )
    if not bins:
        return Calibration(
            None,
            f"The classifier of version {number} does not know it: its classes are those members of that "
            f"version that came with five sample prompts or more.",
        )
    return Calibration(reliability(number, bins))


def reliability(version: int, kept: Sequence[Mapping[str, Any]]) -> Reliability:
    """From the bins as a worker recorded them (see `routing.reliability`)."""
    bins = [_bin(one) for one in kept]
    prompts = sum(one.prompts for one in bins)
    likely = [one for one in bins if one.low >= LIKELY]
    return Reliability(
        version,
        bins,
        prompts,
        sum(one.own for one in bins),
        sum(one.prompts * abs(one.stated - one.share) for one in bins) / prompts,
        _together(likely) if likely else None,
        [_point(one, max(other.prompts for other in bins)) for one in bins],
        [Tick(_x(value), _y(value), f"{value:.1f}") for value in TICKS],
    )


def _bin(said: Mapping[str, Any]) -> Bin:
    low = said["at"] / BINS
    return _with_interval(low, low + 1 / BINS, said["rows"], said["stated"], said["own"])


def _together(bins: Sequence[Bin]) -> Bin:
    prompts = sum(one.prompts for one in bins)
    stated = sum(one.stated * one.prompts for one in bins) / prompts
    return _with_interval(bins[0].low, bins[-1].high, prompts, stated, sum(one.own for one in bins))


def _with_interval(low: float, high: float, prompts: int, stated: float, own: int) -> Bin:
    """Wilson's interval of a share (Wilson, 1927): it stays between 0 and 1, also of very few."""
    share, spread = own / prompts, DEVIATIONS**2 / prompts
    middle = (share + spread / 2) / (1 + spread)
    half = DEVIATIONS * math.sqrt(share * (1 - share) / prompts + spread / (4 * prompts)) / (1 + spread)
    return Bin(low, high, prompts, stated, own, max(0.0, middle - half), min(1.0, middle + half))


def _point(one: Bin, largest: int) -> Point:
    """Its area grows with the logarithm of how many prompts it stands for: most are nobody's near zero."""
    size = math.sqrt(math.log1p(one.prompts) / math.log1p(largest))
    label = f"stated {one.stated:.0%}, its own {one.own} of {one.prompts}"
    radius = round(SMALLEST + (LARGEST - SMALLEST) * size, 1)
    return Point(_x(one.stated), _y(one.share), radius, _y(one.most), _y(one.least), label)


def _x(value: float) -> float:
    return round(LEFT + value * SIDE, 1)


def _y(value: float) -> float:
    return round(TOP + SIDE - value * SIDE, 1)
