"""The leading singular directions of a large matrix, by Golub-Kahan-Lanczos bidiagonalisation in float64.

A full decomposition costs O(d^3); some dozens of products with the matrix find the directions that matter.
The basis is orthogonalised anew in every step, so that directions neither get lost nor come twice; the start
is drawn from a fixed seed; and the search ends when the residuals say so, at the latest when the basis is
complete and the decomposition a full one. (Golub and Van Loan, Matrix Computations, 10.4.)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

LOOK_EVERY = 8
# The largest |M v - sigma u| that a direction may have, relative to the largest singular value.
RESIDUAL = 1e-9
NOTHING = 1e-14


@dataclass(frozen=True)
class Leading:
    """The leading singular triplets of a matrix, falling."""

    left: Float64[Tensor, "rows count"]
    sigma: Float64[Tensor, " count"]
    right: Float64[Tensor, "count columns"]


def leading_directions(matrix: Float64[Tensor, "rows columns"], count: int) -> Leading:
    """The `count` leading triplets (all, if there are fewer), to `RESIDUAL`; deterministic."""
    rows, columns = matrix.shape
    if rows < columns:  # the basis that can become complete is the one on the smaller side
        turned = leading_directions(matrix.T, count)
        return Leading(turned.right.T, turned.sigma, turned.left.T)
    draw = torch.Generator().manual_seed(0)
    right = [_fresh([], columns, matrix, draw)]
    left: list[Tensor] = []
    alphas: list[float] = []
    betas: list[float] = []
    size = float(torch.linalg.matrix_norm(matrix))
    while True:
        u, alpha = _next(matrix @ right[-1], left, size, draw)
        left.append(u)
        alphas.append(alpha)
        complete = len(left) == columns
        if complete:
            return _triplets(left, right, alphas, betas, count)
        v, beta = _next(matrix.T @ u, right, size, draw)
        if len(left) % LOOK_EVERY == 0 and len(left) >= 2 * count:
            residuals, largest = _residuals(alphas, betas, beta, count)
            if residuals <= RESIDUAL * largest:
                return _triplets(left, right, alphas, betas, count)
        right.append(v)
        betas.append(beta)


def _next(
    image: Float64[Tensor, " width"], basis: list[Tensor], size: float, draw: torch.Generator
) -> tuple[Float64[Tensor, " width"], float]:
    """The part of `image` outside the basis, normalised, and its length; a fresh one if there is none."""
    rest = _outside(image, basis)
    length = float(torch.linalg.vector_norm(rest))
    if length > NOTHING * size:
        return rest / length, length
    return _fresh(basis, len(image), image, draw), 0.0


def _outside(vector: Float64[Tensor, " width"], basis: list[Tensor]) -> Float64[Tensor, " width"]:
    """Orthogonalised twice: once leaves rounding that grows from step to step."""
    if not basis:
        return vector
    span = torch.stack(basis)
    for _ in range(2):
        vector = vector - span.T @ (span @ vector)
    return vector


def _fresh(basis: list[Tensor], width: int, like: Tensor, draw: torch.Generator) -> Float64[Tensor, " width"]:
    """A unit vector drawn from the seed, orthogonal to the basis."""
    drawn = torch.randn(width, dtype=torch.float64, generator=draw).to(like.device)
    return torch.nn.functional.normalize(_outside(drawn, basis), dim=0)


def _bidiagonal(alphas: list[float], betas: list[float]) -> Float64[Tensor, "k k"]:
    """M in the two bases: alphas on the diagonal, betas above it."""
    diagonal = torch.diag(torch.tensor(alphas, dtype=torch.float64))
    return diagonal + torch.diag(torch.tensor(betas[: len(alphas) - 1], dtype=torch.float64), 1)


def _residuals(alphas: list[float], betas: list[float], beta: float, count: int) -> tuple[float, float]:
    """The largest residual of the leading triplets, and the largest singular value."""
    u, sigma, _ = torch.linalg.svd(_bidiagonal(alphas, betas))
    return beta * float(u[-1, :count].abs().max()), float(sigma[0])


def _triplets(
    left: list[Tensor], right: list[Tensor], alphas: list[float], betas: list[float], count: int
) -> Leading:
    u, sigma, vh = (part.to(left[0].device) for part in torch.linalg.svd(_bidiagonal(alphas, betas)))
    return Leading(
        torch.stack(left, 1) @ u[:, :count], sigma[:count], vh[:count] @ torch.stack(right[: len(left)])
    )
