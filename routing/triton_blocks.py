"""What the kernels of a GPU have in common: sizes, reading blocks of matrices, and multiplying them.

Sums are float32, and the order of each is fixed by the module alone: products of `CHUNK` columns, then the
chunks one after another, then a token's experts from its best to its last. A token's row of a tile is worked
out apart from the other rows. No two programs add to the same number, so nothing depends on who comes first.
Hence a token gets the same result whoever else is in its pass, and whichever grid its pass is given.
"""

from __future__ import annotations

import triton
import triton.language as tl

TILE = tl.constexpr(16)  # tokens, experts or rows: the least that a tensor core multiplies
COLUMNS = tl.constexpr(64)  # are read at a time
CHUNK = tl.constexpr(1024)  # columns are summed before their sum joins the others
NOBODY = tl.constexpr(2**31 - 1)
# What changes from pass to pass or version to version: for a 1 or a multiple of 16 Triton would compile anew.
PASSING = ("tokens", "experts", "tiles", "parts", "chunks", "slot", "slots")
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)  # by Triton's interpreter, where no GPU is


@triton.jit
def matrix(
    first: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    width: int,
    rows_there: tl.tensor,
    columns_there: tl.tensor,
) -> tl.tensor:
    """Some rows and columns of a matrix, zero where a row or a column is not there [rows, columns]."""
    there = rows_there[:, None] & columns_there[None, :]
    return tl.load(first + row[:, None] * width + column[None, :], mask=there, other=0.0)


@triton.jit
def transposed(
    first: tl.tensor,
    row: tl.tensor,
    column: tl.tensor,
    width: int,
    rows_there: tl.tensor,
    columns_there: tl.tensor,
) -> tl.tensor:
    """The same, turned round [columns, rows]."""
    there = rows_there[None, :] & columns_there[:, None]
    return tl.load(first + row[None, :] * width + column[:, None], mask=there, other=0.0)


@triton.jit
def product(left: tl.tensor, right: tl.tensor, total: tl.tensor) -> tl.tensor:
    """A total and the product of left and right, summed in float32 without rounding the factors.

    The interpreter takes a bfloat16's bits for an integer; there they are widened, which changes no product.
    """
    if INTERPRETED:
        left = left.to(tl.float32)
        right = right.to(tl.float32)
    return tl.dot(left, right, total, input_precision="ieee")


@triton.jit
def exact_product(x: tl.tensor, v: tl.tensor, total: tl.tensor) -> tl.tensor:
    """A total and the product of x with float32 v, as exact as float32 is.

    A float32 is the sum of three bfloat16 (24 bits are three times 8), and a tensor core's products of those
    with a bfloat16 lose nothing. Other inputs are multiplied in float32 outside the tensor cores.
    """
    if x.dtype == tl.bfloat16:
        high = v.to(tl.bfloat16)
        rest = v - high.to(tl.float32)
        middle = rest.to(tl.bfloat16)
        low = (rest - middle.to(tl.float32)).to(tl.bfloat16)
        total = product(x, low, total)
        total = product(x, middle, total)
        total = product(x, high, total)
    else:
        total = product(x.to(tl.float32), v, total)
    return total
