"""Choosing and mixing experts on a CPU, compiled by numba: what `routers.best` and `mixing` do, in two loops.

Serial, and without the interpreter's lock. Sums are taken in another order than torch takes them.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

FAST = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, not ninf: what is not finite must show
compiled = njit(nogil=True, cache=True, fastmath=FAST, boundscheck=False)

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@compiled
def choose(scores: Floats, temperature: float, experts: Integers, weights: Floats) -> None:
    """The k best finite scores of each token [tokens, experts], best first, and their softmax over those k.

    Writes experts [tokens, k] and weights [tokens, k]. Of equal scores the earlier expert wins. Where a token
    has fewer than k finite scores the rest are expert 0 without weight.
    """
    k = experts.shape[1]
    kept, shares = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.float64)
    for token in range(scores.shape[0]):
        found = 0
        for expert in range(scores.shape[1]):
            score = scores[token, expert]
            if not np.isfinite(score) or (found == k and score <= kept[k - 1]):
                continue
            place = found if found < k else k - 1
            while place > 0 and score > kept[place - 1]:
                kept[place] = kept[place - 1]
                experts[token, place] = experts[token, place - 1]
                place -= 1
            kept[place] = score
            experts[token, place] = expert
            found = min(found + 1, k)
        total = 0.0
        for place in range(found):
            shares[place] = np.exp((np.float64(kept[place]) - np.float64(kept[0])) / temperature)
            total += shares[place]
        for place in range(found):
            weights[token, place] = shares[place] / total
        for place in range(found, k):
            experts[token, place] = 0
            weights[token, place] = 0.0


@compiled
def choose_and_mix(  # noqa: PLR0913, PLR0917 - compiled loops take plain arrays
    output: Floats,
    hidden: Floats,
    prototypes: Floats,
    a: Floats,
    b: Floats,
    bounds: Integers,
    temperature: float,
    experts: Integers,
    weights: Floats,
) -> None:
    """Arrow for a few tokens: |v.x| of every prototype, the k best, their weights, their updates added."""
    scores = np.empty((hidden.shape[0], prototypes.shape[0]), dtype=np.float32)
    for expert in range(prototypes.shape[0]):
        prototype = prototypes[expert]
        for token in range(hidden.shape[0]):
            x = hidden[token]
            product = np.float32(0.0)
            for column in range(x.shape[0]):
                product += prototype[column] * x[column]
            scores[token, expert] = abs(product)
    choose(scores, temperature, experts, weights)
    mix(output, hidden, experts, weights, a, b, bounds)


@compiled
def mix(
    output: Floats, hidden: Floats, experts: Integers, weights: Floats, a: Floats, b: Floats, bounds: Integers
) -> None:
    """Add to each token's row of `output` the sum over its experts of weight * b_e.T (a_e x)."""
    for token in range(experts.shape[0]):
        for place in range(experts.shape[1]):
            expert, weight = experts[token, place], weights[token, place]
            if weight != 0.0:
                _add(output[token], hidden[token], weight, a, b, bounds[expert], bounds[expert + 1])


@compiled
def _add(y: Floats, x: Floats, weight: np.float32, a: Floats, b: Floats, first: int, end: int) -> None:
    """One expert's part: four of its rows at a time, so that x and y are walked along once for four."""
    row = first
    while row + 4 <= end:
        a0, a1, a2, a3 = a[row], a[row + 1], a[row + 2], a[row + 3]
        s0 = s1 = s2 = s3 = np.float32(0.0)
        for column in range(x.shape[0]):
            read = x[column]
            s0 += a0[column] * read
            s1 += a1[column] * read
            s2 += a2[column] * read
            s3 += a3[column] * read
        s0, s1, s2, s3 = s0 * weight, s1 * weight, s2 * weight, s3 * weight
        b0, b1, b2, b3 = b[row], b[row + 1], b[row + 2], b[row + 3]
        for column in range(y.shape[0]):
            y[column] += s0 * b0[column] + s1 * b1[column] + s2 * b2[column] + s3 * b3[column]
        row += 4
    while row < end:
        s = np.float32(0.0)
        for column in range(x.shape[0]):
            s += a[row, column] * x[column]
        s *= weight
        for column in range(y.shape[0]):
            y[column] += s * b[row, column]
        row += 1
