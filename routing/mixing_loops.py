"""Mixing experts on a CPU: tokens times the rows of their experts' factors, compiled by numba.

Expert by expert, each for all of its tokens, a few of which share what is read of its rows. What a token gets
of an expert is the same, to the bit, whoever shares. Rows of one expert are read while those of the next are
asked for: they lie anywhere, so the processor cannot guess them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from routing.jit import kept
from routing.panel_numbers import WIDE
from routing.vectors import INT, called, everywhere, fetch, fused, picked

# Without fastmath: what is not finite shows, and sums are taken in the order in which they are written here.
compiled = kept(boundscheck=False)

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

LANES = 16 if WIDE else 8
# How many tokens share how many rows at most: their sums, the rows and the inputs have room in the registers.
PAIR, FOUR = 2, 4
SHARED = {1: 8, PAIR: 8, 4: FOUR} if WIDE else {1: FOUR, PAIR: FOUR}
MOST_TOKENS, MOST_ROWS = max(SHARED), max(SHARED.values())
ASK_AHEAD = PAIR  # up to so many tokens; for more there is as much to multiply as to read
SORTED_AS_THEY_COME = 64  # pairs: up to so many, counting for every expert costs more

VECTOR = ir.VectorType(ir.FloatType(), LANES)
NOTHING = ir.Constant(VECTOR, [0.0] * LANES)
CASE = MOST_TOKENS + 1


@compiled
def mix(
    output: Floats, hidden: Floats, experts: Integers, weights: Floats, a: Floats, b: Floats, spans: Integers
) -> None:
    """Add to each token's row of `output` the sum over its experts of weight * b_e.T (a_e x).

    `experts` and `weights` [tokens, k]; expert e has the rows `spans[e, 0]` to `spans[e, 1]` of `a`
    [rows, d_in] and `b` [rows, d_out]. A pair without weight has no part, whatever its expert's numbers are.
    """
    whose, tokens = np.empty(experts.size, dtype=np.int64), np.empty(experts.size, dtype=np.int64)
    shares = np.empty(experts.size, dtype=np.float32)
    if experts.size <= SORTED_AS_THEY_COME:
        pairs = _insert_by_expert(experts, weights, whose, tokens, shares)
    else:
        pairs = _count_by_expert(experts, weights, spans.shape[0], whose, tokens, shares)
    pair = 0
    while pair < pairs:
        expert, last = whose[pair], pair + 1
        while last < pairs and whose[last] == expert:
            last += 1
        after = spans[whose[last], 0] if last < pairs else spans[expert, 0]
        while pair < last:
            together = _together(last - pair)
            row, end = spans[expert, 0], spans[expert, 1]
            while row < end:
                rows = _rows_together(end - row, together)
                soon = row + rows if row + rows < end else after
                add_rows(output, hidden, a, b, tokens, shares, pair, together, row, rows, soon)
                row += rows
            pair += together


@compiled
def _together(left: int) -> int:
    """How many of so many tokens share the next rows."""
    if left >= MOST_TOKENS:
        return MOST_TOKENS
    return min(left, PAIR)


@compiled
def _rows_together(left: int, tokens: int) -> int:
    """How many of so many rows these tokens share."""
    if left >= MOST_ROWS and tokens <= PAIR:
        return MOST_ROWS
    return FOUR if left >= FOUR else 1


@compiled
def _insert_by_expert(
    experts: Integers, weights: Floats, whose: Integers, tokens: Integers, shares: Floats
) -> int:
    """Write the pairs that have weight expert by expert, in the order of tokens; how many they are."""
    pairs = 0
    for token in range(experts.shape[0]):
        for place in range(experts.shape[1]):
            expert, weight = experts[token, place], weights[token, place]
            if weight == 0.0:
                continue
            at = pairs
            while at > 0 and whose[at - 1] > expert:
                whose[at], tokens[at], shares[at] = whose[at - 1], tokens[at - 1], shares[at - 1]
                at -= 1
            whose[at], tokens[at], shares[at] = expert, token, weight
            pairs += 1
    return pairs


@compiled
def _count_by_expert(
    experts: Integers, weights: Floats, count: int, whose: Integers, tokens: Integers, shares: Floats
) -> int:
    """What `_insert_by_expert` does, of many pairs of `count` experts."""
    ends = np.zeros(count + 1, dtype=np.int64)
    for token in range(experts.shape[0]):
        for place in range(experts.shape[1]):
            if weights[token, place] != 0.0:
                ends[experts[token, place] + 1] += 1
    for expert in range(1, count + 1):
        ends[expert] += ends[expert - 1]
    for token in range(experts.shape[0]):
        for place in range(experts.shape[1]):
            if weights[token, place] != 0.0:
                expert = experts[token, place]
                at = ends[expert]
                whose[at], tokens[at], shares[at] = expert, token, weights[token, place]
                ends[expert] += 1
    return ends[count]


def _add_rows(  # noqa: PLR0913, PLR0917 - numba asks for a function of as many
    _context: Any,
    output: Any,
    hidden: Any,
    a: Any,
    b: Any,
    tokens: Any,
    shares: Any,
    pair: Any,
    together: Any,
    row: Any,
    rows: Any,
    soon: Any,
) -> tuple[Any, Any]:
    """Add what `rows` rows, from `row` on, have to say to the tokens of pairs from `pair` on.

    The rows from `soon` on are read next.
    """
    given = (output, hidden, a, b, tokens, shares, pair, together, row, rows, soon)
    return types.void(*given), _cases


add_rows: Any = intrinsic(_add_rows)


def _cases(context: Any, builder: Any, signature: Any, given: Any) -> Any:
    """A loop for each number of tokens and rows: registers are not counted when it runs."""
    arrays = [
        context.make_array(kind)(context, builder, one)
        for kind, one in zip(signature.args[:6], given[:6], strict=True)
    ]
    together, rows = given[7], given[9]
    number = together.type
    done = builder.append_basic_block("done")
    chosen = builder.switch(builder.add(together, builder.mul(rows, number(CASE))), done)
    for count, most in SHARED.items():
        for height in {most, FOUR, 1}:
            block = builder.append_basic_block(f"of_{count}_by_{height}")
            chosen.add_case(number(count + height * CASE), block)
            builder.position_at_end(block)
            _case(builder, arrays, given, count, height)
            builder.branch(done)
    builder.position_at_end(done)
    return context.get_dummy_value()


def _case(builder: Any, arrays: Sequence[Any], given: Sequence[Any], count: int, height: int) -> None:
    """The part of `height` rows in the updates of `count` pairs."""
    output, hidden, a, b, tokens, shares = arrays
    pair, row, soon = given[6], given[8], given[10]
    pairs = [builder.add(pair, pair.type(place)) for place in range(count)]
    speakers = [builder.load(builder.gep(tokens.data, [place])) for place in pairs]
    x, y = ([_row(builder, held, token) for token in speakers] for held in (hidden, output))
    of_a, of_b, next_a = (
        [_row(builder, held, builder.add(first, first.type(place))) for place in range(height)]
        for held, first in ((a, row), (b, row), (a, soon))
    )
    asks = count <= ASK_AHEAD
    inside = _carried_in(builder, x, of_a, _width(builder, hidden), asks * of_b)
    scalars = []
    for place, sums in zip(pairs, inside, strict=True):
        share = builder.load(builder.gep(shares.data, [place]))
        scalars.append([everywhere(builder, builder.fmul(one, share), LANES) for one in sums])
    _carry_out(builder, y, of_b, scalars, _width(builder, output), asks * next_a)


def _carried_in(
    builder: Any, x: Sequence[Any], rows: Sequence[Any], width: Any, soon: Sequence[Any]
) -> list[list[Any]]:
    """The products of each token with each row, as scalars; `soon` is asked for on the way."""
    totals = [[cgutils.alloca_once_value(builder, NOTHING) for _ in rows] for _ in x]

    def step(columns: Columns) -> None:
        columns.ask_for(soon)
        read = [columns.of(row) for row in rows]
        for token, sums in zip(x, totals, strict=True):
            inputs = columns.of(token)
            for row, total in zip(read, sums, strict=True):
                builder.store(fused(builder, row, inputs, builder.load(total)), total)

    _along(builder, width, step)
    return [[_summed(builder, builder.load(total)) for total in sums] for sums in totals]


def _carry_out(
    builder: Any,
    y: Sequence[Any],
    rows: Sequence[Any],
    scalars: Sequence[Sequence[Any]],
    width: Any,
    soon: Sequence[Any],
) -> None:
    """Add the rows to each token's outputs, each by its scalar; `soon` is asked for on the way."""

    def step(columns: Columns) -> None:
        columns.ask_for(soon)
        read = [columns.of(row) for row in rows]
        for token, its in zip(y, scalars, strict=True):
            sums = columns.of(token)
            for row, scalar in zip(read, its, strict=True):
                sums = fused(builder, row, scalar, sums)
            columns.put(token, sums)

    _along(builder, width, step)


class Columns:
    """A vector's width of neighbouring columns, or what is left at the end of a row."""

    def __init__(self, builder: Any, first: Any, mask: Any = None) -> None:
        self._builder, self._first, self._mask = builder, first, mask

    def of(self, row: Any) -> Any:
        """What a row has there; zeros behind its end."""
        if self._mask is None:
            return self._builder.load(self._at(row), align=4)
        given = [self._at(row), INT(4), self._mask, NOTHING]
        return called(self._builder, f"llvm.masked.load.v{LANES}f32.p0", VECTOR, given)

    def put(self, row: Any, numbers: Any) -> None:
        """Write a row's numbers there, none behind its end."""
        if self._mask is None:
            self._builder.store(numbers, self._at(row), align=4)
            return
        given = [numbers, self._at(row), INT(4), self._mask]
        called(self._builder, f"llvm.masked.store.v{LANES}f32.p0", ir.VoidType(), given)

    def ask_for(self, rows: Sequence[Any]) -> None:
        """Ask for what these rows have there."""
        for row in rows:
            fetch(self._builder, self._at(row))

    def _at(self, row: Any) -> Any:
        return self._builder.bitcast(self._builder.gep(row, [self._first]), VECTOR.as_pointer())


def _along(builder: Any, width: Any, step: Callable[[Columns], None]) -> None:
    """Do a step for each vector's width of columns, and one for those that are left."""
    lanes = width.type(LANES)
    whole = builder.sdiv(width, lanes)
    with cgutils.for_range(builder, whole) as loop:
        step(Columns(builder, builder.mul(loop.index, lanes)))
    first = builder.mul(whole, lanes)
    left = builder.trunc(builder.sub(width, first), INT)
    with builder.if_then(builder.icmp_signed("!=", left, INT(0))):
        places = ir.Constant(ir.VectorType(INT, LANES), list(range(LANES)))
        step(Columns(builder, first, builder.icmp_signed("<", places, everywhere(builder, left, LANES))))


def _summed(builder: Any, vector: Any) -> Any:
    """The sum of a vector's numbers, its halves upon each other."""
    while vector.type.count > 1:
        half = vector.type.count // 2
        halves = (picked(builder, vector, vector, range(first, first + half)) for first in (0, half))
        vector = builder.fadd(*halves)
    return builder.extract_element(vector, INT(0))


def _row(builder: Any, array: Any, row: Any) -> Any:
    return builder.gep(array.data, [builder.mul(row, _width(builder, array))])


def _width(builder: Any, array: Any) -> Any:
    return cgutils.unpack_tuple(builder, array.shape)[1]
