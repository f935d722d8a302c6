"""Tokens times a weight in panels, made by numba for this processor: each number widens in a register.

A panel is `WIDTH` outputs beside each other, input by input. For up to `TILE` tokens its sums stay in
registers from the first input to the last, so a weight is read once for all of them and nothing is put back
between. A sum is taken input by input, whatever is multiplied beside it: no token changes what another gets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

# Of sums four vectors of 512 bits or two of 256 for each token fill three quarters of the registers, the rest
# are for weights and inputs. Constants, so that a tile is made of whole vectors.
WIDTH = 64 if get_host_cpu_features().get("avx512f") else 16
TILE = 6
# Without fastmath: what is not finite shows, and sums are taken in the order in which they are written here.
compiled = njit(nogil=True, cache=True, boundscheck=False)

FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
WORDS = ir.VectorType(ir.IntType(32), WIDTH)
BITS = ir.VectorType(ir.IntType(16), WIDTH)
HALVES = ir.VectorType(ir.HalfType(), WIDTH)
FUSED = ("contract",)  # a product and its sum may be one instruction

Floats = NDArray[np.float32]
Panels = NDArray[np.float32] | NDArray[np.uint16] | NDArray[np.int16]


@compiled
def multiply(output: Floats, hidden: Floats, panels: Panels, first: int, end: int) -> None:
    """Write the outputs [tokens, d_out] of panels `first` to `end` for hidden states [tokens, d_in].

    `panels` [panels, d_in, WIDTH] are float32, the bits of bfloat16 (uint16) or those of float16 (int16). The
    last may have more outputs than there are: these are left out.
    """
    tokens, d_out = output.shape
    tiles = -(-tokens // TILE)
    sums = np.empty((TILE, WIDTH), dtype=np.float32)
    for place in range(first, end):
        column = place * WIDTH
        width = min(WIDTH, d_out - column)
        for tile in range(tiles):
            begin, stop = tokens * tile // tiles, tokens * (tile + 1) // tiles
            sum_up(sums, hidden, panels[place], begin, stop - begin)
            for token in range(begin, stop):
                output[token, column : column + width] = sums[token - begin, :width]


def _sum_up(_context: Any, sums: Any, hidden: Any, panel: Any, first: Any, count: Any) -> tuple[Any, Any]:
    """Write sums [count, WIDTH] of hidden [first : first + count, d_in] times panel [d_in, WIDTH]."""
    return types.void(sums, hidden, panel, first, count), _tiles


sum_up: Any = intrinsic(_sum_up)


def _tiles(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    """A loop for each number of tokens, since registers have no places that are counted when it runs."""
    sums, hidden, panel = (
        context.make_array(kind)(context, builder, one)
        for kind, one in zip(signature.args[:3], given[:3], strict=True)
    )
    d_in = cgutils.unpack_tuple(builder, hidden.shape)[1]
    first, count = given[3:]
    rows = builder.gep(hidden.data, [builder.mul(first, d_in)])
    done = builder.append_basic_block("done")
    chosen = builder.switch(count, done)
    for tokens in range(1, TILE + 1):
        block = builder.append_basic_block(f"of_{tokens}")
        chosen.add_case(count.type(tokens), block)
        builder.position_at_end(block)
        _tile(builder, tokens, sums.data, rows, d_in, (panel.data, signature.args[2].dtype))
        builder.branch(done)
    builder.position_at_end(done)
    return context.get_dummy_value()


def _tile(builder: Any, tokens: int, sums: Any, rows: Any, d_in: Any, panel: tuple[Any, Any]) -> None:
    """The sums of so many tokens, input by input."""
    nothing = ir.Constant(FLOATS, [0.0] * WIDTH)
    totals = [cgutils.alloca_once_value(builder, nothing) for _ in range(tokens)]
    with cgutils.for_range(builder, d_in) as loop:
        weights = _widened(builder, *panel, loop.index)
        for token, total in enumerate(totals):
            place = builder.add(builder.mul(d_in, d_in.type(token)), loop.index)
            product = builder.fmul(weights, _everywhere(builder, rows, place), flags=FUSED)
            builder.store(builder.fadd(product, builder.load(total), flags=FUSED), total)
    for token, total in enumerate(totals):
        to = builder.gep(sums, [d_in.type(token * WIDTH)])
        builder.store(builder.load(total), builder.bitcast(to, FLOATS.as_pointer()), align=4)


def _widened(builder: Any, data: Any, kind: Any, row: Any) -> Any:
    """One row of a panel as float32; widening is exact."""
    place = builder.gep(data, [builder.mul(row, row.type(WIDTH))])
    if kind == types.float32:
        return builder.load(builder.bitcast(place, FLOATS.as_pointer()), align=4)
    if kind == types.int16:
        halves = builder.load(builder.bitcast(place, HALVES.as_pointer()), align=2)
        return builder.fpext(halves, FLOATS)
    bits = builder.zext(builder.load(builder.bitcast(place, BITS.as_pointer()), align=2), WORDS)
    return builder.bitcast(builder.shl(bits, ir.Constant(WORDS, [16] * WIDTH)), FLOATS)


def _everywhere(builder: Any, rows: Any, place: Any) -> Any:
    """One number in all places of a vector."""
    number = builder.load(builder.gep(rows, [place]))
    empty = ir.Constant(FLOATS, ir.Undefined)
    first = builder.insert_element(empty, number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, empty, ir.Constant(WORDS, [0] * WIDTH))
