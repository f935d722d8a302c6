"""Paired comparisons: how much better rows are predicted in one way than in another, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
RESAMPLES = 2000
SHARE = 0.95  # of resamples inside an interval
SEED = 0


@dataclass(frozen=True)
class Outcomes:
    """Of each row [rows]: log p(completion | prompt) in nats, how many tokens the completion has, and whether
    a greedy answer would be exactly it (1 or 0).
    """

    log_probability: Numbers
    tokens: Numbers
    exact: Numbers

    @property
    def per_token(self) -> float:
        """Mean log-likelihood in nats per token, over the tokens of all rows."""
        return float(self.log_probability.sum() / self.tokens.sum())

    @property
    def exact_share(self) -> float:
        """The share of rows whose greedy answer would be exactly right."""
        return float(self.exact.mean())


@dataclass(frozen=True)
class Difference:
    """How much more one way scores than another: an estimate, and its interval of 95 %."""

    value: float
    low: float
    high: float


def log_likelihood_gain(one: Outcomes, other: Outcomes) -> Difference:
    """In nats per token: (sum of differences) / (sum of tokens), and the same of resampled rows."""
    return _difference(one.log_probability - other.log_probability, one.tokens)


def exact_gain(one: Outcomes, other: Outcomes) -> Difference:
    """In shares of the rows that are answered exactly."""
    return _difference(one.exact - other.exact, np.ones_like(one.exact))


def _difference(gains: Numbers, weights: Numbers) -> Difference:
    """Percentile bootstrap over rows (Efron & Tibshirani 1993, chapter 13), both ways on the same rows: what
    makes a row hard is hard for both, and cancels.
    """
    drawn = _drawn(len(gains))
    found = (drawn @ gains) / (drawn @ weights)
    rest = (1 - SHARE) / 2
    low, high = np.quantile(found, [rest, 1 - rest])
    return Difference(float(gains.sum() / weights.sum()), float(low), float(high))


@lru_cache(maxsize=2)
def _drawn(rows: int) -> Numbers:
    """How often each row is in each resample [resamples, rows]: the same for all that are compared."""
    draw = np.random.default_rng(SEED)
    return draw.multinomial(rows, [1 / rows] * rows, size=RESAMPLES).astype(np.float64)
