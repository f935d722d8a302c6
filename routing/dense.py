"""Updates entry by entry, a few rows at a time: for merges that are no products of thin factors.

Each block of rows is one product of thin factors in float64, rounded to float32: so an entry is the same
whichever rows it is computed with, and memory holds a few blocks, however many experts there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from routing.adapter import LowRank
from routing.errors import RoutingError
from routing.factors import Factors, canonical
from routing.scales import Scales, changes_bias, dense_scales
from routing.weights import Layer

ENTRIES_AT_ONCE = 2**20  # 8 MB in float64
EXACT_SIDE = 512  # up to this width a whole decomposition costs less than it is worth to avoid
MORE_DIRECTIONS = 16  # than are asked for: what makes subspace iteration converge in a few passes
MOST_PASSES = 30
GAIN = 1e-7  # passes end when one adds less than this share to the energy that is captured


@dataclass(frozen=True)
class DenseUpdate:
    """An update [d_out, d_in] whose rows are computed when they are asked for, by `rows(slice)`."""

    d_out: int
    d_in: int
    rows: Callable[[slice], Float32[Tensor, "rows d_in"]]

    def blocks(self) -> Iterator[tuple[slice, Float32[Tensor, "rows d_in"]]]:
        """All rows, as many at a time as memory should hold."""
        for rows in spans(self.d_out, self.d_in):
            yield rows, self.rows(rows)


def spans(d_out: int, d_in: int) -> Iterator[slice]:
    """The rows of a matrix of this shape in runs of at most ENTRIES_AT_ONCE entries, or of one row."""
    height = max(1, ENTRIES_AT_ONCE // d_in)
    for start in range(0, d_out, height):
        yield slice(start, min(start + height, d_out))


def as_dense(factors: Factors, layer: Layer | None = None) -> DenseUpdate:
    """An expert's update, to be read by rows; one with scales beside the base's layer.

    RoutingError if that is needed and not given, or if the scales change the layer's bias: what is merged
    entry by entry is the weight alone.
    """
    if factors.scales is None:
        return DenseUpdate(*_shape(factors), lambda rows: _low_rank_rows(factors, rows).float())
    if layer is None:
        raise RoutingError(
            "entries of a DoRA or (IA)^3 need the base's weight: give layers, or merge by mean, weighted or "
            "task-arithmetic"
        )
    if layer.bias is not None and changes_bias(factors.scales, layer.bias):
        raise RoutingError(
            "an (IA)^3 scales this layer's bias, which has no place among the entries of its weight: merge "
            "by mean, weighted or task-arithmetic"
        )
    return DenseUpdate(*_shape(factors), _beside(factors, factors.scales, layer.weight))


def _shape(factors: Factors) -> tuple[int, int]:
    return factors.b.shape[0], factors.a.shape[1]


def _low_rank_rows(factors: Factors, rows: slice) -> Float64[Tensor, "rows d_in"]:
    return factors.b[rows].double() @ factors.a.double()


def _beside(
    factors: Factors, scales: Scales, weight: Float[Tensor, "d_out d_in"]
) -> Callable[[slice], Float32[Tensor, "rows d_in"]]:
    """Rows of B A + diag(output) W + W diag(input)."""

    def rows_of(rows: slice) -> Float32[Tensor, "rows d_in"]:
        some = replace(scales, output=None if scales.output is None else scales.output[rows])
        through = dense_scales(some, weight[rows].double())
        return (_low_rank_rows(factors, rows).to(through.device) + through).float()

    return rows_of


def whole(update: DenseUpdate) -> Float32[Tensor, "d_out d_in"]:
    """All of an update: as large as the weight that it is for."""
    return torch.cat([block for _, block in update.blocks()])


def best_of_rank(update: DenseUpdate, rank: int) -> tuple[Factors, float]:
    """The best update of at most this rank, and the share of the squared norm that it loses (0 to 1).

    By a whole singular value decomposition, or where both sides are longer than EXACT_SIDE by subspace
    iteration from a fixed start, until another pass captures no more: the same input gives the same bytes.
    """
    matrix = whole(update)
    energy = float(matrix.double().square().sum())
    if min(matrix.shape) <= EXACT_SIDE:
        u, sigma, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    else:
        u, sigma, vh = _leading_triplets(matrix, rank)
    u, sigma, vh = u[:, :rank].double(), sigma[:rank].double(), vh[:rank].double()
    kept = float(sigma.square().sum())
    lost = max(0.0, 1.0 - kept / energy) if energy else 0.0
    return canonical(LowRank(vh, u * sigma, 1.0)), lost


def _leading_triplets(
    matrix: Float[Tensor, "m n"], rank: int
) -> tuple[Float[Tensor, "m k"], Float[Tensor, " k"], Float[Tensor, "k n"]]:
    """The leading singular triplets by subspace iteration (Halko, Martinsson and Tropp 2011, section 4.5)."""
    width = min(rank + MORE_DIRECTIONS, *matrix.shape)
    start = torch.randn(matrix.shape[1], width, generator=torch.Generator().manual_seed(0))
    basis, captured = start.to(matrix), 0.0
    for _ in range(MOST_PASSES):
        left = torch.linalg.qr(matrix @ basis).Q
        inside = left.T @ matrix
        basis, triangle = torch.linalg.qr(inside.T)
        energy = float(torch.linalg.svdvals(triangle)[:rank].double().square().sum())
        if energy - captured <= GAIN * energy:
            break
        captured = energy
    u, sigma, vh = torch.linalg.svd(inside, full_matrices=False)
    return left @ u, sigma, vh
