"""Attention while answers are decoded on a GPU: one token of each answer, whose keys lie wherever they lie.

Where an answer's keys and values are is read from a table, so that a launch is the same for every step: only
what is in the table changes, as a CUDA graph needs it.

A long answer is attended to in parts, which a second kernel joins. How many depends on its own length alone,
and the order of each sum too, so that nothing depends on who else is in the pass.
"""

from __future__ import annotations

import triton
import triton.language as tl

from routing.triton_blocks import matrix, product, transposed

PARTS = tl.constexpr(16)  # of an answer at most
LEAST = tl.constexpr(256)  # tokens of a part, where there is more than one
KEYS = tl.constexpr(64)  # are read at a time
PASSING = ("table", "lengths", "answers", "window")


@triton.jit(do_not_specialize=PASSING)
def attend(
    sums: tl.tensor,
    peaks: tl.tensor,
    query: tl.tensor,
    key: tl.tensor,
    value: tl.tensor,
    table: tl.tensor,
    lengths: tl.tensor,
    scaling: float,
    answers: int,
    window: int,
    KEPT: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDTH_ROOM: tl.constexpr,
    WIDE: tl.constexpr,
    WIDE_ROOM: tl.constexpr,
) -> None:
    """One part of what an answer's token attends to, for the `GROUP` query heads of one kept head.

    `table` [4, answers]: addresses of the answers' keys and of their values, and for how many tokens either
    have room. The token's own key and value are written there, behind the `lengths` that are there already.
    Writes weighted values to sums [answers, kept, parts, group, wide], and by query head the largest score
    and the sum of weights to peaks [answers, kept, parts, group, 2]. Grid: answers, kept heads, `PARTS`.
    """
    answer, head, part = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    length = tl.load(lengths + answer)
    first, parts, each = _shared_out(length, window)
    if part < parts:
        row, column, across = tl.arange(0, ROWS), tl.arange(0, WIDTH_ROOM), tl.arange(0, WIDE_ROOM)
        keys = tl.load(table + answer).to(tl.pointer_type(key.dtype.element_ty))
        values = tl.load(table + answers + answer).to(tl.pointer_type(value.dtype.element_ty))
        keys += head * tl.load(table + 2 * answers + answer) * WIDTH
        values += head * tl.load(table + 3 * answers + answer) * WIDE
        if WIDTH % 16 == 0 and WIDE % 16 == 0:  # torch aligns what it allocates, which a table cannot say
            keys, values = tl.multiple_of(keys, 16), tl.multiple_of(values, 16)
        mine = answer * KEPT + head
        own_key = tl.load(key + mine * WIDTH + column, mask=column < WIDTH, other=0.0)
        own_value = tl.load(value + mine * WIDE + across, mask=across < WIDE, other=0.0)
        q = matrix(query, mine * GROUP + row, column, WIDTH, row < GROUP, column < WIDTH)
        own = part == 0  # who attends to the token itself, and keeps it
        tl.store(keys + length * WIDTH + column, own_key, mask=(column < WIDTH) & own)
        tl.store(values + length * WIDE + across, own_value, mask=(across < WIDE) & own)
        itself = tl.sum(q.to(tl.float32) * own_key.to(tl.float32)[None, :], 1) * scaling
        peak = tl.where(own, itself, -float("inf"))
        total = tl.where(own, tl.full([ROWS], 1.0, tl.float32), 0.0)
        mixed = (
            tl.zeros([ROWS, WIDE_ROOM], tl.float32) + tl.where(own, own_value.to(tl.float32), 0.0)[None, :]
        )
        start = first + part * each
        end = tl.minimum(start + each, length)
        peak, total, mixed = _read(
            q, keys, values, start, end, column, across, scaling, peak, total, mixed, ROWS, WIDTH, WIDE
        )
        to = (mine * PARTS + part) * GROUP + row
        tl.store(peaks + to * 2, peak, mask=row < GROUP)
        tl.store(peaks + to * 2 + 1, total, mask=row < GROUP)
        there = (row < GROUP)[:, None] & (across < WIDE)[None, :]
        tl.store(sums + to[:, None] * WIDE + across[None, :], mixed, mask=there)


@triton.jit
def _read(
    q: tl.tensor,
    keys: tl.tensor,
    values: tl.tensor,
    start: tl.tensor,
    end: tl.tensor,
    column: tl.tensor,
    across: tl.tensor,
    scaling: float,
    peak: tl.tensor,
    total: tl.tensor,
    mixed: tl.tensor,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    WIDE: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """Go on from the largest score, the sum of weights and the weighted values with tokens start to end."""
    for beginning in range(start.to(tl.int32), end.to(tl.int32), KEYS):
        place = beginning + tl.arange(0, KEYS).to(tl.int64)
        k = transposed(keys, place, column, WIDTH, place < end, column < WIDTH)
        scores = product(q, k, tl.zeros([ROWS, KEYS], tl.float32)) * scaling
        scores = tl.where((place < end)[None, :], scores, -float("inf"))
        higher = tl.maximum(peak, tl.max(scores, 1))
        weights, faded = tl.exp(scores - higher[:, None]), tl.exp(peak - higher)
        v = matrix(values, place, across, WIDE, place < end, across < WIDE)
        mixed = product(weights.to(v.dtype), v, mixed * faded[:, None])
        total = total * faded + tl.sum(weights, 1)
        peak = higher
    return peak, total, mixed


@triton.jit(do_not_specialize=PASSING)
def join(
    output: tl.tensor,
    sums: tl.tensor,
    peaks: tl.tensor,
    lengths: tl.tensor,
    window: int,
    KEPT: tl.constexpr,
    GROUP: tl.constexpr,
    WIDE: tl.constexpr,
    WIDE_ROOM: tl.constexpr,
) -> None:
    """Join the parts of `attend`, in order, to output [answers, heads, wide]. Grid: answers, heads."""
    answer, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
    _, parts, _ = _shared_out(tl.load(lengths + answer), window)
    across = tl.arange(0, WIDE_ROOM)
    first = (answer * KEPT + head // GROUP) * PARTS * GROUP + head % GROUP
    highest = tl.load(peaks + first * 2)
    for part in range(1, parts):
        highest = tl.maximum(highest, tl.load(peaks + (first + part * GROUP) * 2))
    total = 0.0
    mixed = tl.zeros([WIDE_ROOM], tl.float32)
    for part in range(parts):
        where = first + part * GROUP
        weight = tl.exp(tl.load(peaks + where * 2) - highest)
        total += weight * tl.load(peaks + where * 2 + 1)
        mixed += weight * tl.load(sums + where * WIDE + across, mask=across < WIDE, other=0.0)
    to = output + (answer * KEPT * GROUP + head) * WIDE + across
    tl.store(to, (mixed / total).to(output.dtype.element_ty), mask=across < WIDE)


@triton.jit
def _shared_out(length: tl.tensor, window: int) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """From which token on an answer of this length is attended to, in how many parts, and of how many tokens.

    A window of 0 is none; others count the token itself.
    """
    first = tl.where(window > 0, tl.maximum(length + 1 - window, 0), 0)
    seen = length - first
    parts = tl.minimum(tl.maximum(tl.cdiv(seen, LEAST), 1), PARTS)
    each = tl.cdiv(tl.cdiv(seen, parts), KEYS) * KEYS
    return first, parts, each
