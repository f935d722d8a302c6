"""Tokens times a weight in panels, made by numba for this processor: its numbers widen in registers.

A panel is `WIDTH` outputs beside each other, input by input. For up to `TILE` tokens its sums stay in
registers from the first input to the last, so a weight is read once for all of them and nothing is put back
between. A sum is taken input by input, whatever is multiplied beside it: no token changes what another gets.
A sum has to wait for its product before, so few tokens take several panels at once where one has few sums.
What tiles after the first multiply is in the caches already: memory would rest meanwhile. So each tile asks
for its part of the next panel on the way, and a tile that is alone for what it comes to soon.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from routing.jit import kept
from routing.panel_numbers import NUMBERS, WIDE, WIDTH, Numbers
from routing.vectors import bytes_of, everywhere, fetch

# Sums fill three quarters of the registers so, the rest are for weights and inputs.
TILE = 6
BESIDE = (1, 1, 1) if WIDE else (1, 4, 2)  # panels at once for 1 and 2 tokens; for more it is one
FEW = len(BESIDE) - 1
ASKING = 4  # tiles at most that ask for the next panel, as much of it each
SOON = 4096  # bytes from where a tile that is alone multiplies to what it asks for
LINE = 64  # bytes in a line of the caches
# Without fastmath: what is not finite shows, and sums are taken in the order in which they are written here.
compiled = kept(boundscheck=False)

Floats = NDArray[np.float32]
Hidden = NDArray[np.float32] | NDArray[np.int32]
Panels = NDArray[np.float32] | NDArray[np.uint16] | NDArray[np.int16] | NDArray[np.int8]


@compiled
def multiply(output: Floats, hidden: Hidden, panels: Panels, first: int, end: int) -> None:
    """Write the outputs [tokens, d_out] of panels `first` to `end` for hidden states [tokens, d_in].

    `panels` [panels, d_in, WIDTH] are float32, the bits of bfloat16 (uint16) or those of float16 (int16). The
    last may have more outputs than there are: these are left out. Of int8, panels are [panels, pairs,
    WIDTH * 2], two inputs of each output beside each other, and hidden states the bits of two int16 [tokens,
    pairs].
    """
    tokens = output.shape[0]
    tiles = -(-tokens // TILE)
    beside = BESIDE[tokens] if tokens <= FEW else 1
    asking = max(1, min(tiles, ASKING))  # of no tokens there is no tile
    row = panels.shape[2] * panels.itemsize
    part = -(-row // asking)  # bytes that are asked for at every input
    sums = np.empty((TILE, WIDTH), dtype=hidden.dtype)
    for place in range(first, end - beside + 1, beside):
        for tile in range(tiles):
            begin, stop = tokens * tile // tiles, tokens * (tile + 1) // tiles
            soon = SOON if tiles == 1 else panels.shape[1] * (row + tile * part)
            asked = part if tile < asking else 0
            sum_up(sums, hidden, panels, place, beside, begin, stop - begin, soon, asked)
            for panel in range(beside):
                _put(output, sums, (place + panel) * WIDTH, begin, stop, panel * (stop - begin))
    for place in range(end - (end - first) % beside, end):
        sum_up(sums, hidden, panels, place, 1, 0, tokens, 0, 0)
        _put(output, sums, place * WIDTH, 0, tokens, 0)


@compiled
def _put(output: Floats, sums: Hidden, column: int, begin: int, stop: int, row: int) -> None:
    """Write one panel's sums, from `row` on, as outputs of tokens `begin` to `stop`, from `column` on."""
    width = min(WIDTH, output.shape[1] - column)
    for token in range(begin, stop):
        output[token, column : column + width] = sums[row + token - begin, :width]


def _sum_up(  # noqa: PLR0913, PLR0917 - numba asks for a function of as many
    _context: Any,
    sums: Any,
    hidden: Any,
    panels: Any,
    place: Any,
    beside: Any,
    first: Any,
    count: Any,
    soon: Any,
    part: Any,
) -> tuple[Any, Any]:
    """Write sums [beside * count, WIDTH]: of `count` tokens from `first` on, times panels from `place` on.

    On the way `part` bytes are asked for at every input, from `soon` bytes behind `place` on. Where that is 0
    it is the same line again and again.
    """
    return types.void(sums, hidden, panels, place, beside, first, count, soon, part), _tiles


sum_up: Any = intrinsic(_sum_up)


def _tiles(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    """A loop for each number of tokens, since registers have no places that are counted when it runs."""
    sums, hidden, panels = (
        context.make_array(kind)(context, builder, one)
        for kind, one in zip(signature.args[:3], given[:3], strict=True)
    )
    d_in = cgutils.unpack_tuple(builder, hidden.shape)[1]
    place, beside, first, count, soon, part = given[3:]
    rows = builder.gep(hidden.data, [builder.mul(first, d_in)])
    numbers = NUMBERS[signature.args[2].dtype]
    size = builder.mul(d_in, d_in.type(WIDTH * numbers.beside))
    panel = builder.gep(panels.data, [builder.mul(place, size)])
    done = builder.append_basic_block("done")
    chosen = builder.switch(builder.add(count, builder.mul(beside, count.type(TILE + 1))), done)
    for tokens in range(1, TILE + 1):
        for together in {1, BESIDE[tokens] if tokens <= FEW else 1}:
            block = builder.append_basic_block(f"of_{tokens}_by_{together}")
            chosen.add_case(count.type(tokens + together * (TILE + 1)), block)
            builder.position_at_end(block)
            starts = [builder.gep(panel, [builder.mul(size, size.type(one))]) for one in range(together)]
            ahead = (builder.gep(bytes_of(builder, panel), [soon]), part) if tokens > FEW else None
            _tile(builder, numbers, tokens, sums.data, rows, d_in, starts, ahead)
            builder.branch(done)
    builder.position_at_end(done)
    return context.get_dummy_value()


def _tile(  # noqa: PLR0913, PLR0917 - all that a loop is made of
    builder: Any,
    numbers: Numbers,
    tokens: int,
    sums: Any,
    rows: Any,
    d_in: Any,
    starts: Sequence[Any],
    ahead: tuple[Any, Any] | None,
) -> None:
    """The sums of so many tokens, input by input, panel by panel.

    On the way what is `ahead` is asked for: from this address on so many bytes at every input.
    """
    nothing = ir.Constant(numbers.sums, [0] * WIDTH)
    totals = [[cgutils.alloca_once_value(builder, nothing) for _ in range(tokens)] for _ in starts]
    with cgutils.for_range(builder, d_in) as loop:
        if ahead is not None:
            begin = builder.gep(ahead[0], [builder.mul(loop.index, ahead[1])])
            for line in range(0, numbers.row_bytes, LINE):
                fetch(builder, builder.gep(begin, [d_in.type(line)]))
        for start, sums_of in zip(starts, totals, strict=True):
            weights = numbers.weights(builder, start, loop.index)
            for token, total in enumerate(sums_of):
                place = builder.add(builder.mul(d_in, d_in.type(token)), loop.index)
                number = everywhere(builder, builder.load(builder.gep(rows, [place])), WIDTH)
                builder.store(numbers.added(builder, builder.load(total), weights, number), total)
    for row, total in enumerate(chain.from_iterable(totals)):
        to = builder.gep(sums, [d_in.type(row * WIDTH)])
        builder.store(builder.load(total), builder.bitcast(to, numbers.sums.as_pointer()), align=4)
