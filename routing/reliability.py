"""Reliability: how often a prompt is an expert's, against the probability that was stated for it.

The reliability diagram of Guo et al. (arXiv 1706.04599, section 2), of one class against all others: rows
are sorted into bins of equal width by the probability that was stated of the class, and each bin compares
the mean of what was stated with the share of its rows that are of the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float64, Int
from torch import Tensor

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Rows whose stated probability is above `at` / BINS and at most (`at` + 1) / BINS; the first has 0 too.

    `stated` is the mean of what was stated, `own` how many of the `rows` are of the class.
    """

    at: int
    rows: int
    stated: float
    own: int


def reliability(
    probabilities: Float64[Tensor, "rows classes"], labels: Int[Tensor, " rows"]
) -> list[tuple[Bin, ...]]:
    """Of each class its bins that hold any row, from the least probable."""
    at = (probabilities * BINS).ceil().long().clamp(1, BINS) - 1
    classes = probabilities.shape[1]
    own = torch.nn.functional.one_hot(labels, classes).double()
    sums = torch.zeros(3, BINS, classes, dtype=torch.float64)
    for place, values in enumerate((torch.ones_like(probabilities), probabilities.double(), own)):
        sums[place].scatter_add_(0, at, values)
    return [_bins(sums[:, :, label].T.tolist()) for label in range(classes)]


def _bins(sums: Sequence[Sequence[float]]) -> tuple[Bin, ...]:
    return tuple(
        Bin(at, int(rows), round(stated / rows, 4), int(own))
        for at, (rows, stated, own) in enumerate(sums)
        if rows
    )
