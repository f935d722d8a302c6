"""LLVM's vectors in loops that numba compiles: what several of our loops are made of."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

FUSED = ("contract",)  # a product and its sum may be one instruction
INT = ir.IntType(32)
SOON = INT(2)  # into the second cache, where there is room for it until it is read
FOR_READING, DATA = INT(0), INT(1)


def everywhere(builder: Any, number: Any, count: int) -> Any:
    """One number in all places of a vector."""
    empty = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    first = builder.insert_element(empty, number, INT(0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(INT, count), [0] * count))


def picked(builder: Any, one: Any, other: Any, places: range) -> Any:
    """These places of two vectors that lie behind each other."""
    wanted = ir.Constant(ir.VectorType(INT, len(places)), list(places))
    return builder.shuffle_vector(one, other, wanted)


def fused(builder: Any, one: Any, other: Any, sums: Any) -> Any:
    """The product of two vectors and a sum, rounded once where the processor can."""
    return builder.fadd(builder.fmul(one, other, flags=FUSED), sums, flags=FUSED)


def fetch(builder: Any, place: Any) -> None:
    """Ask for the numbers at this address, without waiting; nothing happens where there are none."""
    called(builder, "llvm.prefetch.p0", ir.VoidType(), [bytes_of(builder, place), FOR_READING, SOON, DATA])


def bytes_of(builder: Any, place: Any) -> Any:
    """The same address, to be counted from in bytes."""
    return builder.bitcast(place, ir.IntType(8).as_pointer())


def called(builder: Any, name: str, result: Any, given: list[Any]) -> Any:
    """What LLVM or the processor knows by this name."""
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(result, [one.type for one in given])
        function = ir.Function(builder.module, kind, name)
    return builder.call(function, given)
