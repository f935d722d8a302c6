"""A map of experts: two coordinates each, so that distances on the plane resemble those between updates.

Classical multidimensional scaling of the distances between unit updates, sqrt(2 - 2 cosine): the two leading
eigenvectors of the centred cosine matrix.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from routing.similarity import Similarity

Point = tuple[float, float]
EXACT = 1024  # up to so many experts all eigenvectors are computed; beyond, the leading ones by iteration
WIDTH, ROUNDS = 12, 60


def placed(found: Similarity, before: Mapping[str, Point] | None = None) -> dict[str, Point]:
    """Each expert's place. With an older map, this one is turned and mirrored to lie on it as well as it can.

    Without one, of each axis the end that is farther out is the positive one.
    """
    if not found.names:
        return {}
    places = _scaled(found.cosines)
    places = places * torch.where(places.max(0).values >= -places.min(0).values, 1.0, -1.0)
    kept = [name for name in found.names if name in (before or {})]
    if before and len(kept) > 1:
        old = torch.tensor([before[name] for name in kept], dtype=torch.float64)
        places = _turned(places, places[[found.places[name] for name in kept]], old)
    return {name: (x, y) for name, (x, y) in zip(found.names, places.tolist(), strict=True)}


def _scaled(cosines: Float64[Tensor, "experts experts"]) -> Float64[Tensor, "experts 2"]:
    centred = cosines - cosines.mean(0, keepdim=True)
    centred = centred - centred.mean(1, keepdim=True)
    values, vectors = _leading(centred)
    places = torch.zeros(len(cosines), 2, dtype=torch.float64)
    found = min(2, len(values))
    places[:, :found] = vectors[:, :found] * values[:found].clamp(min=0.0).sqrt()
    return places


def _leading(matrix: Float64[Tensor, "n n"]) -> tuple[Float64[Tensor, " k"], Float64[Tensor, "n k"]]:
    """The two largest eigenvalues and their vectors; by subspace iteration from a fixed start if large."""
    if len(matrix) <= EXACT:
        values, vectors = torch.linalg.eigh(matrix)
        return values.flip(0)[:2], vectors.flip(1)[:, :2]
    draw = torch.Generator().manual_seed(0)
    span = torch.randn(len(matrix), WIDTH, generator=draw, dtype=torch.float64)
    for _ in range(ROUNDS):
        span = torch.linalg.qr(matrix @ span).Q
    values, inner = torch.linalg.eigh(span.T @ matrix @ span)
    return values.flip(0)[:2], (span @ inner).flip(1)[:, :2]


def _turned(
    places: Float64[Tensor, "experts 2"], ours: Float64[Tensor, "kept 2"], old: Float64[Tensor, "kept 2"]
) -> Float64[Tensor, "experts 2"]:
    """The rotation, reflection and shift that bring `ours` nearest to `old` (Procrustes), on all places."""
    centre, aim = ours.mean(0), old.mean(0)
    u, _, vh = torch.linalg.svd((ours - centre).T @ (old - aim))
    return (places - centre) @ (u @ vh) + aim
