"""Kinds of number in panels, as LLVM's vectors: how a row is read, and how it is multiplied and added up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import types
from numba.core import config

from routing.vectors import called, fused, picked

# Whoever tells numba of another processor (NUMBA_CPU_NAME, NUMBA_ENABLE_AVX) has what every processor has: an
# instruction that the compiler may not use would end the process.
ASKED: Any = config
ANY = ASKED.CPU_NAME or ASKED.CPU_FEATURES or not ASKED.ENABLE_AVX
FEATURES = {} if ANY else get_host_cpu_features()
WIDE = bool(FEATURES.get("avx512f"))
# Four vectors of 512 bits, or two of 256. A constant, so that a tile is made of whole vectors.
WIDTH = 64 if WIDE else 16

FLOATS = ir.VectorType(ir.FloatType(), WIDTH)
WORDS = ir.VectorType(ir.IntType(32), WIDTH)
BITS = ir.VectorType(ir.IntType(16), WIDTH)
HALVES = ir.VectorType(ir.HalfType(), WIDTH)
LEVELS = ir.VectorType(ir.IntType(8), 2 * WIDTH)
PAIRS = ir.VectorType(ir.IntType(16), 2 * WIDTH)


class Numbers(NamedTuple):
    """One kind: the type of its sums, how many inputs lie beside each other, and what is done with a row.

    `weights` reads the row of that number from a panel; `added` gives sums with the products of weights and a
    number that stands in all places. A row of a panel has `row_bytes`.
    """

    sums: Any
    beside: int
    weights: Callable[[Any, Any, Any], Any]
    added: Callable[[Any, Any, Any, Any], Any]
    row_bytes: int


def _row(builder: Any, panel: Any, row: Any, kind: Any) -> Any:
    """A row of a panel as a vector of this kind, wherever it begins."""
    place = builder.gep(panel, [builder.mul(row, row.type(kind.count))])
    return builder.load(builder.bitcast(place, kind.as_pointer()), align=1)


def _of_float32(builder: Any, panel: Any, row: Any) -> Any:
    return _row(builder, panel, row, FLOATS)


def _of_bfloat16(builder: Any, panel: Any, row: Any) -> Any:
    bits = builder.zext(_row(builder, panel, row, BITS), WORDS)
    return builder.bitcast(builder.shl(bits, ir.Constant(WORDS, [16] * WIDTH)), FLOATS)


def _of_float16(builder: Any, panel: Any, row: Any) -> Any:
    return builder.fpext(_row(builder, panel, row, HALVES), FLOATS)


def _of_int8(builder: Any, panel: Any, row: Any) -> Any:
    return builder.sext(_row(builder, panel, row, LEVELS), PAIRS)


def _fused(builder: Any, sums: Any, weights: Any, number: Any) -> Any:
    return fused(builder, weights, number, sums)


def _by_pairs(builder: Any, sums: Any, weights: Any, number: Any) -> Any:
    """Each sum and its two products, in integers: exact as long as it fits into 32 bits."""
    inputs = builder.bitcast(number, PAIRS)
    if not FEATURES.get("avx2"):
        return builder.add(sums, _plainly(builder, weights, inputs))
    # the instruction that multiplies int16 and adds neighbours, for as many as it takes
    name, lanes = "llvm.x86.avx2.pmadd.wd", 16
    if WIDE and FEATURES.get("avx512bw"):
        name, lanes = "llvm.x86.avx512.pmaddw.d.512", 32
    found = []
    for first in range(0, 2 * WIDTH, lanes):
        places = range(first, first + lanes)
        parts = [picked(builder, vector, vector, places) for vector in (weights, inputs)]
        found.append(called(builder, name, ir.VectorType(ir.IntType(32), lanes // 2), parts))
    while len(found) > 1:
        pairs = zip(found[::2], found[1::2], strict=True)
        found = [picked(builder, *pair, range(2 * pair[0].type.count)) for pair in pairs]
    return builder.add(sums, found[0])


def _plainly(builder: Any, weights: Any, inputs: Any) -> Any:
    wide = ir.VectorType(ir.IntType(32), 2 * WIDTH)
    products = builder.mul(builder.sext(weights, wide), builder.sext(inputs, wide))
    even, odd = (picked(builder, products, products, range(first, 2 * WIDTH, 2)) for first in (0, 1))
    return builder.add(even, odd)


NUMBERS: Mapping[Any, Numbers] = {
    types.float32: Numbers(FLOATS, 1, _of_float32, _fused, 4 * WIDTH),
    types.uint16: Numbers(FLOATS, 1, _of_bfloat16, _fused, 2 * WIDTH),
    types.int16: Numbers(FLOATS, 1, _of_float16, _fused, 2 * WIDTH),
    types.int8: Numbers(WORDS, 2, _of_int8, _by_pairs, 2 * WIDTH),
}
