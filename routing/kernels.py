"""Choosing and mixing experts on a CPU, compiled by numba: what `routers.best` and `mixing` do, in two loops.

Serial, and without the interpreter's lock. Sums are taken in another order than torch takes them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from routing.jit import kept
from routing.mixing_loops import mix

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
    spans: Integers,
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
    mix(output, hidden, experts, weights, a, b, spans)
