"""Attention of single tokens, each at the keys and values of its own answer, compiled by numba.

What a token gets depends on its answer alone, to the bit: each head of each answer is summed up by itself, in
an order that its length gives. Serial, and without the interpreter's lock.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.numpy_support import carray
from numpy.typing import NDArray

from routing.jit import kept
from routing.kernels import Floats, compiled

ROW, LENGTH, ROOM, KEYS, VALUES = range(5)  # what a place says; the last two are addresses
in_order = kept(boundscheck=False, fastmath={"contract"})

Tokens = NDArray[np.float32]  # [tokens, heads, width]
Places = NDArray[np.int64]


@compiled
def attend(  # noqa: PLR0913, PLR0917 - compiled loops take plain arrays
    output: Tokens,
    query: Tokens,
    key: Tokens,
    value: Tokens,
    places: Places,
    scaling: float,
    window: int,
    first: int,
    step: int,
) -> None:
    """Keep each token's key and value and write what it reads of all that its answer keeps so far.

    `output` [tokens, heads, value_width], `query` [tokens, heads, width], `key` and `value` [tokens,
    kept_heads, .]; kept heads are shared by groups of heads. `places` [answers, 5]: the token's row, how many
    tokens are kept before it, for how many there is room, and where the rooms [kept_heads, room, .] for keys
    and values begin. Of the pairs of answer and kept head, every `step`th from `first` on.
    """
    kept_heads = key.shape[1]
    group = query.shape[1] // kept_heads
    scores = np.empty((group, places[:, LENGTH].max() + 1), dtype=np.float32)
    for pair in range(first, len(places) * kept_heads, step):
        place, head = places[pair // kept_heads], pair % kept_heads
        row, length, room = place[ROW], place[LENGTH], place[ROOM]
        keys = carray(_at(place[KEYS]), (kept_heads, room, key.shape[2]), np.float32)[head]
        values = carray(_at(place[VALUES]), (kept_heads, room, value.shape[2]), np.float32)[head]
        for column in range(key.shape[2]):
            keys[length, column] = key[row, head, column]
        for column in range(value.shape[2]):
            values[length, column] = value[row, head, column]
        begin, end = max(0, length + 1 - window), length + 1
        mine = slice(head * group, (head + 1) * group)
        _score(scores, query[row, mine], keys[begin:end], np.float32(scaling))
        for member in range(group):
            share_out(scores[member, : end - begin])
        _sum_up(output[row, mine], scores, values[begin:end])


@compiled
def _score(scores: Floats, query: Floats, keys: Floats, scaling: np.float32) -> None:
    """Scaled products of a group's queries with each key: four keys at a time share it."""
    tokens, width = keys.shape
    token = 0
    while token + 4 <= tokens:
        k0, k1, k2, k3 = keys[token], keys[token + 1], keys[token + 2], keys[token + 3]
        for member in range(query.shape[0]):
            asked = query[member]
            s0 = s1 = s2 = s3 = np.float32(0.0)
            for column in range(width):
                read = asked[column]
                s0 += read * k0[column]
                s1 += read * k1[column]
                s2 += read * k2[column]
                s3 += read * k3[column]
            scores[member, token], scores[member, token + 1] = s0 * scaling, s1 * scaling
            scores[member, token + 2], scores[member, token + 3] = s2 * scaling, s3 * scaling
        token += 4
    while token < tokens:
        for member in range(query.shape[0]):
            s = np.float32(0.0)
            for column in range(width):
                s += query[member, column] * keys[token, column]
            scores[member, token] = s * scaling
        token += 1


@compiled
def _sum_up(output: Floats, weights: Floats, values: Floats) -> None:
    """Write the weighted sum of the values for each of a group: four values at a time."""
    tokens, width = values.shape
    output[:] = np.float32(0.0)
    token = 0
    while token + 4 <= tokens:
        v0, v1, v2, v3 = values[token], values[token + 1], values[token + 2], values[token + 3]
        for member in range(output.shape[0]):
            y = output[member]
            w0, w1 = weights[member, token], weights[member, token + 1]
            w2, w3 = weights[member, token + 2], weights[member, token + 3]
            for column in range(width):
                y[column] += w0 * v0[column] + w1 * v1[column] + w2 * v2[column] + w3 * v3[column]
        token += 4
    while token < tokens:
        for member in range(output.shape[0]):
            weight = weights[member, token]
            for column in range(width):
                output[member, column] += weight * values[token, column]
        token += 1


@compiled
def share_out(scores: Floats) -> None:
    """The softmax of some scores, in their place; all NaN where one is NaN or the largest is infinite."""
    exponentials(scores, _largest(scores))
    total = np.float32(0.0)
    for place in range(scores.shape[0]):
        total += scores[place]
    part = np.float32(1.0) / total
    for place in range(scores.shape[0]):
        scores[place] *= part


@compiled
def _largest(scores: Floats) -> np.float32:
    """Of four neighbours each with its own largest so far, since one comparison waits for the other."""
    m0 = m1 = m2 = m3 = scores[0]
    place = 0
    while place + 4 <= scores.shape[0]:
        m0 = max(m0, scores[place])
        m1 = max(m1, scores[place + 1])
        m2 = max(m2, scores[place + 2])
        m3 = max(m3, scores[place + 3])
        place += 4
    while place < scores.shape[0]:
        m0 = max(m0, scores[place])
        place += 1
    return max(m0, m1, m2, m3)


PER_LOG2 = np.float32(1.44269504)  # 1 / log 2
LOG2, LOG2_REST = (
    np.float32(0.693359375),
    np.float32(-2.12194440e-4),
)  # their sum; whole multiples of one are exact
WHOLE = np.float32(1.5 * 2**23)  # what is added to this is rounded to whole numbers
P0, P1, P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
P3, P4, P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
LEAST = np.float32(-87.0)  # below, the exponential is no normal float32


@in_order
def exponentials(scores: Floats, largest: np.float32) -> None:
    """exp(score - largest) in their place, to the last bit but one; zero below exp(-87).

    Cephes' polynomial (its `expf`), written so that a compiler makes vectors of it. Nothing may be taken in
    another order: adding and subtracting `WHOLE` is what rounds.
    """
    for place in range(scores.shape[0]):
        x = scores[place] - largest
        shifted = x * PER_LOG2 + WHOLE
        doublings = shifted - WHOLE
        r = x - doublings * LOG2
        r = r - doublings * LOG2_REST
        p = ((((P0 * r + P1) * r + P2) * r + P3) * r + P4) * r + P5
        e = (p * (r * r) + r + np.float32(1.0)) * _power_of_two(shifted)
        scores[place] = np.float32(0.0) if x < LEAST else e


def _power(_context: Any, _shifted: Any) -> tuple[Any, Any]:
    """Two to the power of n, of n + `WHOLE`, whose last bits are n."""

    def made(_: Any, builder: Any, _signature: Any, given: Any) -> Any:
        bits = ir.IntType(32)
        whole = builder.shl(builder.bitcast(given[0], bits), bits(23))
        return builder.bitcast(builder.add(whole, bits(127 << 23)), ir.FloatType())

    return types.float32(types.float32), made


def _pointer(_context: Any, _address: Any) -> tuple[Any, Any]:
    """What lies at an address."""

    def made(_: Any, builder: Any, _signature: Any, given: Any) -> Any:
        return builder.inttoptr(given[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), made


_power_of_two: Any = intrinsic(_power)
_at: Any = intrinsic(_pointer)
