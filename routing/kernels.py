"""Choosing and mixing experts on a CPU, compiled by numba: what `routers.best` and `mixing` do, in two loops.

Serial, and without the interpreter's lock. Sums are taken in another order than torch takes them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routing.jit import kept

FAST = {"reassoc", "contract", "arcp", "nsz"}  # not nnan, not ninf: what is not finite must show
compiled = kept(fastmath=FAST, boundscheck=False)

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@compiled
def choose(scores: Floats, temperature: float, experts: Integers, weights: Floats) -> None:
    """The k best finite scores of each token [tokens, experts], best first, and their softmax over those k.

    Writes experts [tokens, k] and weights [tokens, k]. Of equal scores the earlier expert wins. Where a token
    has fewer than k finite scores the rest are expert 0 without weight.
    """
    kept = np.empty(experts.shape[1], dtype=np.float32)
    for token in range(scores.shape[0]):
        found = 0
        for expert in range(scores.shape[1]):
            found = offer(scores[token, expert], expert, kept, experts[token], found)
        share(kept, found, temperature, experts[token], weights[token])


@compiled
def offer(score: np.float32, expert: int, kept: Floats, experts: Integers, found: int) -> int:
    """Keep the score and its expert where it is finite and among the k best so far; how many are kept now."""
    k = kept.shape[0]
    if not np.isfinite(score) or (found == k and score <= kept[k - 1]):
        return found
    place = found if found < k else k - 1
    while place > 0 and score > kept[place - 1]:
        kept[place] = kept[place - 1]
        experts[place] = experts[place - 1]
        place -= 1
    kept[place] = score
    experts[place] = expert
    return min(found + 1, k)


@compiled
def share(kept: Floats, found: int, temperature: float, experts: Integers, weights: Floats) -> None:
    """The softmax of one token's kept scores as weights; behind them, expert 0 without weight."""
    total = 0.0
    for place in range(found):
        total += np.exp((np.float64(kept[place]) - np.float64(kept[0])) / temperature)
    for place in range(found):
        weights[place] = np.exp((np.float64(kept[place]) - np.float64(kept[0])) / temperature) / total
    for place in range(found, kept.shape[0]):
        experts[place] = 0
        weights[place] = 0.0


@compiled
def product(prototype: Floats, x: Floats) -> np.float32:
    """The inner product in float32; compiled into every loop that scores, so that all say the same."""
    total = np.float32(0.0)
    for column in range(x.shape[0]):
        total += prototype[column] * x[column]
    return total


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
            scores[token, expert] = abs(product(prototype, hidden[token]))
    choose(scores, temperature, experts, weights)
    mix(output, hidden, experts, weights, a, b, bounds)


@compiled
def mix_by_expert(
    output: Floats, hidden: Floats, experts: Integers, weights: Floats, a: Floats, b: Floats, bounds: Integers
) -> None:
    """What `mix` does, for many tokens: expert by expert, and its tokens two by two, which share its rows."""
    k = experts.shape[1]
    ends, order = np.zeros(bounds.shape[0], dtype=np.int64), np.empty(experts.size, dtype=np.int64)
    _sort_by_expert(experts, weights, ends, order)
    pair = 0
    for expert in range(bounds.shape[0] - 1):
        first, end = bounds[expert], bounds[expert + 1]
        while pair + 2 <= ends[expert]:
            _add_two(output, hidden, weights, order[pair], order[pair + 1], a, b, first, end)
            pair += 2
        if pair < ends[expert]:
            token, place = order[pair] // k, order[pair] % k
            _add(output[token], hidden[token], weights[token, place], a, b, first, end)
            pair += 1


@compiled
def _sort_by_expert(experts: Integers, weights: Floats, ends: Integers, order: Integers) -> None:
    """Write the pairs that have weight expert by expert, in the order of tokens, and where each expert's end.

    `ends` [experts + 1] has to be zero.
    """
    k = experts.shape[1]
    for pair in range(experts.size):
        if weights[pair // k, pair % k] != 0.0:
            ends[experts[pair // k, pair % k] + 1] += 1
    for expert in range(1, ends.shape[0]):
        ends[expert] += ends[expert - 1]
    for pair in range(experts.size):
        if weights[pair // k, pair % k] != 0.0:
            expert = experts[pair // k, pair % k]
            order[ends[expert]] = pair
            ends[expert] += 1


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


@compiled
def _add_two(  # noqa: PLR0913, PLR0917 - as above
    output: Floats,
    hidden: Floats,
    weights: Floats,
    one: int,
    other: int,
    a: Floats,
    b: Floats,
    first: int,
    end: int,
) -> None:
    """What `_add` does, for two (token, place) pairs of one expert; pairs are numbered row by row."""
    k = weights.shape[1]
    x, z = hidden[one // k], hidden[other // k]
    y, v = output[one // k], output[other // k]
    to_y, to_v = weights[one // k, one % k], weights[other // k, other % k]
    row = first
    while row + 4 <= end:
        a0, a1, a2, a3 = a[row], a[row + 1], a[row + 2], a[row + 3]
        s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = np.float32(0.0)
        for column in range(x.shape[0]):
            mine, its = x[column], z[column]
            s0 += a0[column] * mine
            s1 += a1[column] * mine
            s2 += a2[column] * mine
            s3 += a3[column] * mine
            t0 += a0[column] * its
            t1 += a1[column] * its
            t2 += a2[column] * its
            t3 += a3[column] * its
        s0, s1, s2, s3 = s0 * to_y, s1 * to_y, s2 * to_y, s3 * to_y
        t0, t1, t2, t3 = t0 * to_v, t1 * to_v, t2 * to_v, t3 * to_v
        b0, b1, b2, b3 = b[row], b[row + 1], b[row + 2], b[row + 3]
        for column in range(y.shape[0]):
            y[column] += s0 * b0[column] + s1 * b1[column] + s2 * b2[column] + s3 * b3[column]
            v[column] += t0 * b0[column] + t1 * b1[column] + t2 * b2[column] + t3 * b3[column]
        row += 4
    _add(y, x, to_y, a, b, row, end)
    _add(v, z, to_v, a, b, row, end)
