"""Choosing Arrow's experts from a rough look first, compiled by numba: see `routing.sketches`.

What these loops choose, and with which weights, is what `kernels.choose` makes of every float32 score.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from routing.kernels import Floats, Integers, compiled, offer, product, share
from routing.mixing_loops import mix
from routing.panel_loops import multiply

TOP = 2**31 - 1  # of a sum of products
COARSEST = 127  # of an int8
FINEST = 2**15 - 1  # of an int16
SURELY_FINITE = 2.0**126  # float32 ends at 2^128: no partial sum of a product below this overflows
SIZE = np.int32(0x7FFFFFFF)  # the bits of a float32 without its sign
TINIEST = np.float32(2.0**-100)  # so that levels per number do not overflow
SMALLEST = 2.0**-149  # the step of float32 beside zero
ROUNDED = 1 + 2.0**-20  # more than all roundings of float64 in a bound together

Levels = NDArray[np.int8]
FineLevels = NDArray[np.int16]
Doubles = NDArray[np.float64]


@compiled
def levels_of(hidden: Floats, levels: FineLevels, steps: Doubles, lengths: Doubles) -> None:
    """Write each token [tokens, d_in] as levels * its step, and its length; levels beyond d_in are zero.

    So fine that a sum of products with int8 levels still fits into 32 bits; no number is off by more than
    0.51 steps. A token that is not finite, or of which float32 keeps no fraction, has -1 as its length.
    """
    finest = np.float32(min(FINEST, TOP // (COARSEST * hidden.shape[1])))
    patterns = hidden.view(np.int32)  # sizes of floats are in the order of their bits, which vectors compare
    cell = np.empty(1, dtype=np.int32)
    for token in range(hidden.shape[0]):
        x, row, pattern = hidden[token], levels[token], patterns[token]
        row[x.shape[0] :] = 0
        squares = 0.0
        largest = np.int32(0)
        for column in range(x.shape[0]):
            squares += np.float64(x[column]) * np.float64(x[column])
            largest = max(largest, np.int32(pattern[column] & SIZE))
        cell[0] = largest
        size = cell.view(np.float32)[0]
        if not np.isfinite(squares) or 0 < size < TINIEST:
            lengths[token] = -1.0
            continue
        lengths[token] = math.sqrt(squares)
        steps[token] = np.float64(size) / finest
        per_step = finest / size if size else np.float32(0.0)
        for column in range(x.shape[0]):
            row[column] = np.int16(np.int32(np.floor(x[column] * per_step + np.float32(0.5))))


@compiled
def choose_listed(  # noqa: PLR0913, PLR0917 - compiled loops take plain arrays
    rough: Floats,
    input_steps: Doubles,
    input_lengths: Doubles,
    hidden: Floats,
    prototypes: Floats,
    steps: Doubles,
    errors: Doubles,
    lengths: Doubles,
    temperature: float,
    experts: Integers,
    weights: Floats,
) -> None:
    """Choose among those to whom the rough products [tokens, experts] leave a chance, scored in float32.

    The k that look best are scored first: whoever cannot reach what the last of them has is out.
    """
    count, k = prototypes.shape[0], experts.shape[1]
    listed, first = np.empty(count, dtype=np.int64), np.empty(k, dtype=np.int64)
    kept, seen = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.float64)
    middle, most = np.empty(count, dtype=np.float64), np.empty(count, dtype=np.float64)
    longest = lengths.max()
    for token in range(hidden.shape[0]):
        x, step, length = hidden[token], input_steps[token], input_lengths[token]
        if length < 0.0 or length * longest > SURELY_FINITE:
            last = _everyone(listed)
        else:
            off = 0.51 * step * math.sqrt(x.shape[0])
            least = SMALLEST * x.shape[0]
            for expert in range(count):
                slack = (length * errors[expert] + off * lengths[expert]) * ROUNDED + least
                middle[expert] = abs(np.float64(rough[token, expert])) * step * steps[expert]
                most[expert] = middle[expert] + slack
            _largest(middle, seen, first)
            enough = np.float32(np.inf)
            for place in range(k):
                enough = min(enough, abs(product(prototypes[first[place]], x)))
            last = _reaching(most, np.float64(enough), listed)
        found = 0
        for place in range(last):
            expert = listed[place]
            score = abs(product(prototypes[expert], x))
            found = offer(score, expert, kept, experts[token], found)
        share(kept, found, temperature, experts[token], weights[token])


@compiled
def choose_by_sketch_and_mix(  # noqa: PLR0913, PLR0917 - as above
    output: Floats,
    hidden: Floats,
    prototypes: Floats,
    a: Floats,
    b: Floats,
    spans: Integers,
    levels: Levels,
    steps: Doubles,
    errors: Doubles,
    lengths: Doubles,
    temperature: float,
    experts: Integers,
    weights: Floats,
) -> None:
    """What `kernels.choose_and_mix` does, for a few tokens among many experts."""
    tokens = hidden.shape[0]
    inputs = np.empty((tokens, 2 * levels.shape[1]), dtype=np.int16)
    input_steps, input_lengths = np.empty(tokens, dtype=np.float64), np.empty(tokens, dtype=np.float64)
    rough = np.empty((tokens, prototypes.shape[0]), dtype=np.float32)
    levels_of(hidden, inputs, input_steps, input_lengths)
    multiply(rough, inputs.view(np.int32), levels, 0, levels.shape[0])
    choose_listed(
        rough,
        input_steps,
        input_lengths,
        hidden,
        prototypes,
        steps,
        errors,
        lengths,
        temperature,
        experts,
        weights,
    )
    mix(output, hidden, experts, weights, a, b, spans)


@compiled
def _everyone(listed: Integers) -> int:
    for expert in range(listed.shape[0]):
        listed[expert] = expert
    return listed.shape[0]


@compiled
def _largest(middle: Doubles, seen: Doubles, first: Integers) -> None:
    """Write the k largest numbers, best first, and where they are."""
    last = seen.shape[0] - 1
    seen[:] = -1.0
    for expert in range(middle.shape[0]):
        if middle[expert] > seen[last]:
            place = last
            while place > 0 and middle[expert] > seen[place - 1]:
                seen[place] = seen[place - 1]
                first[place] = first[place - 1]
                place -= 1
            seen[place] = middle[expert]
            first[place] = expert


@compiled
def _reaching(most: Doubles, enough: float, listed: Integers) -> int:
    """List who may have as much as that, in order, and say how many they are."""
    last = 0
    for expert in range(most.shape[0]):
        if most[expert] >= enough:
            listed[last] = expert
            last += 1
    return last
