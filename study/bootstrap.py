"""Paired bootstrap: how sure a mean over questions and seeds is, and a difference between two methods.

Every resample draws seeds, and within each seed and task questions, with replacement, and the same ones for
all methods: what makes a question hard is hard for all and cancels in a difference. Tasks are not resampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
# One task's numbers: by seed, an array [methods, questions].
TaskNumbers = Sequence[Numbers]
RESAMPLES = 1000


def means(tasks: Sequence[TaskNumbers]) -> Numbers:
    """The mean of each method [methods]: over a task's questions, then over seeds, then over tasks."""
    by_task = [np.mean([numbers.mean(axis=1) for numbers in seeds], axis=0) for seeds in tasks]
    return np.asarray(np.mean(by_task, axis=0), dtype=np.float64)


def resampled_means(tasks: Sequence[TaskNumbers], *, resamples: int = RESAMPLES, seed: int = 0) -> Numbers:
    """The same means of every resample [resamples, methods]."""
    draw = np.random.default_rng(seed)
    seeds = len(tasks[0])
    # how often each seed is drawn, as a share [resamples, seeds]
    shares = draw.multinomial(seeds, [1 / seeds] * seeds, size=resamples) / seeds
    total = np.zeros((resamples, tasks[0][0].shape[0]))
    for numbers_by_seed in tasks:
        for place, numbers in enumerate(numbers_by_seed):
            count = numbers.shape[1]
            drawn = draw.multinomial(count, [1 / count] * count, size=resamples) / count
            total += shares[:, place : place + 1] * (drawn @ numbers.T)
    return np.asarray(total / len(tasks), dtype=np.float64)


def interval(values: Numbers, *, share: float = 0.95) -> tuple[float, float]:
    """The middle `share` of some values; those that are not finite are left out."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return float("nan"), float("nan")
    rest = (1 - share) / 2
    low, high = np.quantile(finite, [rest, 1 - rest])
    return float(low), float(high)


def normalised(values: Numbers, *, base: Numbers, oracle: Numbers) -> Numbers:
    """(method - base) / (oracle - base): 0 is the base, 1 the oracle; NaN where they are equal."""
    room = oracle - base
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(np.abs(room) > 1e-9, (values - base) / room, np.nan), dtype=np.float64)


def stacked(outcomes: Mapping[str, Sequence[float]], methods: Sequence[str]) -> Numbers:
    """One seed's numbers of one task [methods, questions] in this order of methods."""
    return np.array([outcomes[method] for method in methods], dtype=np.float64)
