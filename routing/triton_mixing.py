"""Mixing experts on a GPU: Triton kernels that carry tokens into their experts and out again.

A pair is a token and one of its k experts: number token * k + slot.
"""

from __future__ import annotations

import triton
import triton.language as tl

from routing.triton_blocks import CHUNK, COLUMNS, NOBODY, PASSING, TILE, matrix, product, transposed


@triton.jit(do_not_specialize=PASSING)
def shrink(
    inside: tl.tensor,
    hidden: tl.tensor,
    a: tl.tensor,
    spans: tl.tensor,
    chosen: tl.tensor,
    weights: tl.tensor,
    order: tl.tensor,
    tokens: int,
    tiles: int,
    width: int,
    room: int,
    chunks: int,
    K: tl.constexpr,
    EACH: tl.constexpr,
) -> None:
    """a_e x of pairs of one slot; to inside [parts, pairs, room]. Pairs without weight are left out.

    Grid: tiles of `EACH` pairs, all of one slot and then all of the next; tiles of an expert's rows; parts of
    the columns. A tile takes its experts in turn: `order` [slots, tokens] brings tokens of one together.
    """
    slot, tile = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    block, part = tl.program_id(1), tl.program_id(2)
    token, expert, _ = _pairs(chosen, weights, order, tile, slot, tokens, K, EACH)
    current = tl.min(expert, 0)
    while current < NOBODY:
        mine = expert == current
        first, end = tl.load(spans + 2 * current), tl.load(spans + 2 * current + 1)
        row = first + block * TILE + tl.arange(0, TILE)
        if first + block * TILE < end:
            total = tl.zeros([TILE, TILE], tl.float32)
            for chunk in range(part * chunks, part * chunks + chunks):
                within = tl.zeros([TILE, TILE], tl.float32)
                for start in range(chunk * CHUNK, tl.minimum(chunk * CHUNK + CHUNK, width), COLUMNS):
                    column = start + tl.arange(0, COLUMNS)
                    x = matrix(hidden, token, column, width, mine, column < width)
                    rows = transposed(a, row, column, width, row < end, column < width)
                    within = product(x, rows, within)
                total += within
            pair = part.to(tl.int64) * tokens * K + token * K + slot
            held = block * TILE + tl.arange(0, TILE)
            tl.store(inside + pair[:, None] * room + held[None, :], total, mask=mine[:, None])
        current = tl.min(tl.where(expert > current, expert, NOBODY), 0)


@triton.jit(do_not_specialize=PASSING)
def expand(
    output: tl.tensor,
    inside: tl.tensor,
    b: tl.tensor,
    spans: tl.tensor,
    chosen: tl.tensor,
    weights: tl.tensor,
    order: tl.tensor,
    tokens: int,
    slot: int,
    slots: int,
    width: int,
    room: int,
    parts: int,
    K: tl.constexpr,
    EACH: tl.constexpr,
    WIDE: tl.constexpr,
) -> None:
    """Add weight * b_e.T inside to the rows of output, slot after slot, rounding to its dtype after each.

    Grid: tiles of `EACH` tokens, tiles of `WIDE` columns. With an `order` there is one slot in a launch,
    since in another slot its tokens lie in other tiles.
    """
    column = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    first_token, _, _ = _pairs(chosen, weights, order, tl.program_id(0), slot, tokens, K, EACH)
    lane = tl.program_id(0) * EACH + tl.arange(0, TILE)
    there = (tl.arange(0, TILE) < EACH) & (lane < tokens)
    where = output + first_token[:, None] * width + column[None, :]
    mask = there[:, None] & (column < width)[None, :]
    y = tl.load(where, mask=mask, other=0.0)
    for one in range(slot, slot + slots):
        token, expert, weight = _pairs(chosen, weights, order, tl.program_id(0), one, tokens, K, EACH)
        current = tl.min(expert, 0)
        while current < NOBODY:
            mine = expert == current
            pair = token * K + one
            added = _carried_out(
                inside, b, spans, current, pair, mine, weight, column, tokens * K, width, room, parts, WIDE
            )
            y = tl.where(mine[:, None], y.to(tl.float32) + added, y.to(tl.float32)).to(y.dtype)
            current = tl.min(tl.where(expert > current, expert, NOBODY), 0)
    tl.store(where, y, mask=mask)


@triton.jit
def _carried_out(
    inside: tl.tensor,
    b: tl.tensor,
    spans: tl.tensor,
    expert: int,
    pair: tl.tensor,
    mine: tl.tensor,
    weight: tl.tensor,
    column: tl.tensor,
    pairs: int,
    width: int,
    room: int,
    parts: int,
    WIDE: tl.constexpr,
) -> tl.tensor:
    """What one expert adds to these columns of its pairs' tokens [TILE, WIDE], in float32."""
    first, end = tl.load(spans + 2 * expert), tl.load(spans + 2 * expert + 1)
    update = tl.zeros([TILE, WIDE], tl.float32)
    for start in range(0, (end - first).to(tl.int32), TILE):
        held = start + tl.arange(0, TILE)
        there = first + held < end
        sums = tl.zeros([TILE, TILE], tl.float32)
        for part in range(parts):
            sums += matrix(inside, part * pairs + pair, held, room, mine, there)
        rows = matrix(b, first + held, column, width, there, column < width)
        weighted = (sums * weight[:, None]).to(rows.dtype)
        update = product(weighted, rows, update)
    return update


@triton.jit
def _pairs(
    chosen: tl.tensor,
    weights: tl.tensor,
    order: tl.tensor,
    tile: int,
    slot: int,
    tokens: int,
    K: tl.constexpr,
    EACH: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor]:
    """The tokens of a tile, their experts in this slot (`NOBODY`: none with any weight), and the weights."""
    place = tile * EACH + tl.arange(0, TILE)
    there = (tl.arange(0, TILE) < EACH) & (place < tokens)
    token = place.to(tl.int64)
    if order is not None:
        token = tl.load(order + slot * tokens + token, mask=there, other=0)
    weight = tl.load(weights + token * K + slot, mask=there, other=0.0)
    expert = tl.load(chosen + token * K + slot, mask=there, other=0).to(tl.int32)
    return token, tl.where(weight != 0.0, expert, NOBODY), weight
