"""Merging experts into one update: the exact mean of what they do, never of how they are written.

Averaging A and B of different adapters is another thing, and wrong (the mean of products is not the product
of means). Here factors are stacked, so that their product is the weighted sum, and brought into canonical
form by thin QRs and a small SVD: ranks may differ, and no d_out x d_in matrix is formed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from routing.adapter import LowRank
from routing.factors import NUMERICAL_RANK, Factors, canonical


def mean_update(factors: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """The canonical factors of the sum of weight x update; weights of 1/n make it the mean of n.

    What is left where updates cancel is rounding, measured by the updates themselves, and is dropped.
    """
    a = torch.cat([module.a for module in factors])
    b = torch.cat([weight * module.b for module, weight in zip(factors, weights, strict=True)], dim=1)
    total = canonical(LowRank(a, b, 1.0))
    largest = max(
        abs(weight) * float(module.sigma.max()) for module, weight in zip(factors, weights, strict=True)
    )
    return _leading(total, int((total.sigma > NUMERICAL_RANK * largest).sum()))


def mean_expert(experts: Sequence[Mapping[str, Factors]], modules: Sequence[str]) -> dict[str, Factors]:
    """The mean of whole experts over these modules, in this order.

    An expert that does not touch a module counts there with an update of zero. Modules whose mean is zero are
    left out. This is what the router `uniform` computes.
    """
    merged = {}
    for name in modules:
        present = [expert[name] for expert in experts if name in expert]
        if present:
            merged[name] = mean_update(present, [1.0 / len(experts)] * len(present))
    return {name: factors for name, factors in merged.items() if factors.rank}


def retruncate(factors: Factors, rank: int) -> tuple[Factors, float]:
    """The best update of at most this rank, and the share of the squared norm that it loses (0 to 1)."""
    energy = factors.sigma.double().square()
    lost = float(energy[rank:].sum() / energy.sum()) if factors.rank else 0.0
    return _leading(factors, rank), lost


def _leading(factors: Factors, rank: int) -> Factors:
    return Factors(factors.a[:rank], factors.b[:, :rank].contiguous(), factors.sigma[:rank])
