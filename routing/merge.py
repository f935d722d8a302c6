"""Merging experts into one update, always of what they do, dW = B A, never of how they are written.

Averaging A and B of different adapters is another thing, and wrong (the mean of products is not the product
of means). Sums of updates stay thin: factors are stacked, so that their product is the weighted sum, and
brought into canonical form by thin QRs and a small SVD; ranks may differ, and no d_out x d_in matrix is
formed. Trimming, electing signs and dropping work on entries, so those merges are computed by blocks of rows.
`MERGES` is the list of all methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float32
from torch import Tensor

from routing.adapter import LowRank
from routing.dense import DenseUpdate, as_dense, best_of_rank
from routing.errors import BadMerge, RoutingError
from routing.factors import NUMERICAL_RANK, Factors, canonical
from routing.scales import weighted_scales
from routing.sparsity import drawn, threshold, trimmed
from routing.weights import Layers

Experts = Mapping[str, Mapping[str, Factors]]
Merged = Factors | DenseUpdate
# Some rows of one expert's update at one module, with zeros where entries are not kept.
Entries = Callable[[str, str, slice], Tensor]
Readable = Mapping[str, Mapping[str, DenseUpdate]]
Thinning = Callable[[Readable, "MergePlan"], Entries]
Combining = Callable[[Sequence[tuple[float, Tensor]]], Tensor]
Method = Callable[[Experts, Mapping[str, float], "MergePlan", Layers | None], Callable[[str], Merged]]
DENSITIES: Mapping[str, float] = MappingProxyType(
    {"magnitude": 0.2, "ties": 0.2, "dare-linear": 0.5, "dare-ties": 0.5}
)


@dataclass(frozen=True)
class MergePlan:
    """How to merge: a method of `MERGES` by name, and its options.

    `weights` by expert, for every expert or for none (equal shares that sum to one); `scale` multiplies the
    merged update (the lambda of task arithmetic and TIES); `density` is the share of entries that is kept
    (None: as the method's authors do), `seed` draws which ones they are where that is left to chance.
    """

    method: str = "mean"
    weights: Mapping[str, float] | None = None
    scale: float = 1.0
    density: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in MERGES:
            raise BadMerge("method", self.method, f"one of {', '.join(sorted(MERGES))}")
        if not math.isfinite(self.scale):
            raise BadMerge("scale", str(self.scale), "a number")
        if self.density is not None and self.method not in DENSITIES:
            raise BadMerge("density", str(self.density), f"none: {self.method} keeps all entries")
        if self.density is not None and not 0.0 < self.density <= 1.0:
            raise BadMerge("density", str(self.density), "a number above 0, at most 1")
        self._check_weights()

    @property
    def kept(self) -> float:
        """The share of entries that is kept."""
        return DENSITIES.get(self.method, 1.0) if self.density is None else self.density

    def shares(self, experts: Sequence[str]) -> dict[str, float]:
        """What each of these experts weighs, by name in order; BadMerge if the plan weighs others."""
        names = sorted(experts)
        if self.weights is None:
            return dict.fromkeys(names, 1.0 / len(names))
        if self.weights.keys() != set(names):
            found, expected = ", ".join(sorted(self.weights)) or "none", ", ".join(names) or "none"
            raise BadMerge("weights", found, f"one for each of {expected}")
        total = sum(self.weights.values()) if self.method == "weighted" else 1.0
        return {name: self.weights[name] / total for name in names}

    def _check_weights(self) -> None:
        weights = None if self.weights is None else list(self.weights.values())
        if (self.method == "mean" and weights is not None) or (self.method == "weighted" and weights is None):
            expected = "none: equal shares" if self.method == "mean" else "one for each expert"
            raise BadMerge("weights", str(self.weights), f"{expected} with the method {self.method}")
        if weights is not None and not all(math.isfinite(weight) for weight in weights):
            raise BadMerge("weights", str(weights), "numbers")
        if self.method == "weighted" and weights is not None and (min(weights) < 0 or sum(weights) <= 0):
            raise BadMerge(
                "weights", str(weights), "none below 0 and one above (or the method task-arithmetic)"
            )


def merge_experts(
    experts: Experts,
    plan: MergePlan | None = None,
    *,
    modules: Sequence[str] | None = None,
    layers: Layers | None = None,
) -> dict[str, Merged]:
    """The merged update at each of these modules (None: all that an expert touches), in this order.

    An expert that does not touch a module counts there with an update of zero, and one that weighs nothing
    does not count at all. Sums are `Factors`; other merges are `DenseUpdate`, computed when they are read.
    Modules where a sum is zero are left out. The order of experts changes no bit. `layers` of the base are
    needed for entries of DoRA and (IA)^3 alone (see `routing.dense.as_dense`). BadMerge for a plan that these
    experts do not fit, RoutingError for experts that have no entries.
    """
    wanted = plan or MergePlan()
    shares = wanted.shares(list(experts)) if experts else {}
    counting = {name: experts[name] for name, share in shares.items() if share}
    names = modules or list(dict.fromkeys(name for one in counting.values() for name in one))
    merged = MERGES[wanted.method](counting, shares, wanted, layers)
    found = {name: merged(name) for name in names if any(name in one for one in counting.values())}
    return {name: update for name, update in found.items() if not _is_zero(update)}


def _is_zero(update: Merged) -> bool:
    return isinstance(update, Factors) and not update.rank and update.scales is None


def description(plan: MergePlan, experts: Sequence[str]) -> dict[str, Any]:
    """A merge of these experts as plain JSON: the method, and those options that mean something to it."""
    said: dict[str, Any] = {"method": plan.method, "weights": plan.shares(experts), "scale": plan.scale}
    if plan.method in DENSITIES:
        said["density"] = plan.kept
    if plan.method.startswith("dare"):
        said["seed"] = plan.seed
    return said


def at_rank(update: Merged, rank: int) -> tuple[Factors, float]:
    """The best update of at most this rank, and the share of the squared norm that it loses (0 to 1)."""
    return retruncate(update, rank) if isinstance(update, Factors) else best_of_rank(update, rank)


# --------------------------------------------------------------------------------------- sums: thin factors


def mean_update(factors: Sequence[Factors], weights: Sequence[float]) -> Factors:
    """The canonical factors of the sum of weight x update; weights of 1/n make it the mean of n.

    What is left where updates cancel is rounding, measured by the updates themselves, and is dropped. Scales
    are summed as they are; the sum has no outline, for which the base's weight would be needed.
    """
    a = torch.cat([module.a for module in factors])
    b = torch.cat([weight * module.b for module, weight in zip(factors, weights, strict=True)], dim=1)
    total = canonical(LowRank(a, b, 1.0))
    largest = max(
        (
            abs(weight) * float(module.sigma.max())
            for module, weight in zip(factors, weights, strict=True)
            if module.rank
        ),
        default=0.0,
    )
    kept = _leading(total, int((total.sigma > NUMERICAL_RANK * largest).sum()))
    return replace(kept, scales=weighted_scales([module.scales for module in factors], weights))


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
    return {name: factors for name, factors in merged.items() if factors.rank or factors.scales}


def retruncate(factors: Factors, rank: int) -> tuple[Factors, float]:
    """The best update of at most this rank, and the share of the squared norm that it loses (0 to 1).

    RoutingError for an update with scales, whose best one needs the base's weight (see `outlined`).
    """
    if factors.scales is not None:
        raise RoutingError("an update with scales has full rank: its best of a rank needs the base's weight")
    energy = factors.sigma.double().square()
    lost = float(energy[rank:].sum() / energy.sum()) if factors.rank else 0.0
    return _leading(factors, rank), lost


def _leading(factors: Factors, rank: int) -> Factors:
    return Factors(factors.a[:rank], factors.b[:, :rank].contiguous(), factors.sigma[:rank])


def thin_sum(
    experts: Experts, shares: Mapping[str, float], plan: MergePlan, _layers: Layers | None
) -> Callable[[str], Factors]:
    """Sum of share x dW: mean, weighted mean and task arithmetic (arXiv 2212.04089), which are exact."""

    def merged(module: str) -> Factors:
        present = {name: expert[module] for name, expert in experts.items() if module in expert}
        return mean_update(list(present.values()), [plan.scale * shares[name] for name in present])

    return merged


# ---------------------------------------------------------------------------------- entries: blocks of rows


def keep_largest(experts: Readable, plan: MergePlan) -> Entries:
    """TIES' trim (arXiv 2306.01708): of each expert's entries in all modules together, the largest."""
    smallest = {name: threshold(expert, plan.kept) for name, expert in experts.items()}
    return lambda name, module, rows: trimmed(experts[name][module], rows, smallest[name])


def keep_drawn(experts: Readable, plan: MergePlan) -> Entries:
    """DARE (arXiv 2311.03099): entries are dropped by lot, those that stay divided by their share."""

    def entries(name: str, module: str, rows: slice) -> Tensor:
        values = experts[name][module].rows(rows)
        chance = drawn(rows, values.shape[1], seed=plan.seed, expert=name, module=module, density=plan.kept)
        return values * chance.to(values.device) / plan.kept

    return entries


def add_up(weighed: Sequence[tuple[float, Float32[Tensor, "rows d_in"]]]) -> Tensor:
    """The weighted sum, in float64."""
    total = torch.zeros_like(weighed[0][1], dtype=torch.float64)
    for share, entries in weighed:
        total += share * entries
    return total


def elect(weighed: Sequence[tuple[float, Float32[Tensor, "rows d_in"]]]) -> Tensor:
    """TIES' election and disjoint mean: each entry takes the sign of its weighted sum, and the weighted mean
    of those experts that agree. Where the sum is zero nobody is right, and the entry is zero.
    """
    totals = torch.zeros(2, *weighed[0][1].shape, dtype=torch.float64, device=weighed[0][1].device)
    voters = torch.zeros_like(totals)
    for share, entries in weighed:
        said = share * entries.double()
        for side, agrees in enumerate((said > 0, said < 0)):
            totals[side] += said * agrees
            voters[side] += abs(share) * agrees
    verdict, means = totals.sum(0), (totals / voters).nan_to_num(nan=0.0)  # 0 / 0 where nobody agrees
    return torch.where(verdict == 0, 0.0, torch.where(verdict > 0, means[0], means[1]))


def by_entries(thinning: Thinning, combining: Combining) -> Method:
    """The method that keeps some entries of each expert's update and combines what is left."""

    def method(
        experts: Experts, shares: Mapping[str, float], plan: MergePlan, layers: Layers | None
    ) -> Callable[[str], Merged]:
        readable = {name: _readable(name, expert, layers) for name, expert in experts.items()}
        entries = thinning(readable, plan)

        def merged(module: str) -> DenseUpdate:
            present = [name for name, expert in readable.items() if module in expert]
            shape = readable[present[0]][module]

            def rows(wanted: slice) -> Tensor:
                weighed = [(shares[name], entries(name, module, wanted)) for name in present]
                return (plan.scale * combining(weighed)).float()

            return DenseUpdate(shape.d_out, shape.d_in, rows)

        return merged

    return method


def _readable(name: str, expert: Mapping[str, Factors], layers: Layers | None) -> dict[str, DenseUpdate]:
    """An expert's updates by rows; RoutingError says which of whose modules has no entries to merge."""
    found = {}
    for module, factors in expert.items():
        try:
            layer = None if layers is None or factors.scales is None else layers(module)
            found[module] = as_dense(factors, layer)
        except RoutingError as error:
            raise RoutingError(f"{name}, {module}: {error}") from error
    return found


MERGES: Mapping[str, Method] = MappingProxyType(
    {
        "mean": thin_sum,
        "weighted": thin_sum,
        "task-arithmetic": thin_sum,
        "magnitude": by_entries(keep_largest, add_up),
        "ties": by_entries(keep_largest, elect),
        "dare-linear": by_entries(keep_drawn, add_up),
        "dare-ties": by_entries(keep_drawn, elect),
    }
)
