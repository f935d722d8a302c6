"""Remainders: what is left of a module's experts less some amount of general knowledge, as routers see it.

A remainder is left.T @ right: `right` has the expert's rows of `a` and below them those of general knowledge,
`left` their rows of `b`, the latter times minus the amount. Its spectrum comes from the products of either's
rows with each other, in float64, and these are worked out once for all amounts: a new amount costs a small
eigenproblem for each expert, and one product for whatever is wanted of its directions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from routing.factors import NUMERICAL_RANK
from routing.growing import spans_of
from routing.pack import ModulePack
from routing.routing_vectors import RoutingVectors

# Input directions of experts whose part in each other's complement is smaller (squared) are one direction.
SAME_DIRECTION = 1e-13
LARGEST_BATCH = 2**21  # numbers of A or B that are looked at at once, in float64: 16 MB


class Stack(NamedTuple):
    """An update b.T @ a at one module."""

    a: Float[Tensor, "rows d_in"]
    b: Float[Tensor, "rows d_out"]


@dataclass(frozen=True)
class Alike:
    """Members of one rank, by their rows in the routing vectors, and what of them no amount changes.

    `right` is core @ basis, where the rows of basis are orthonormal, and basis is `into` @ right; `left` are
    the products of the rows of left with each other, for an amount of minus one.
    """

    members: tuple[int, ...]
    rank: int
    core: Float64[Tensor, "members rows rows"]
    into: Float64[Tensor, "members rows rows"]
    left: Float64[Tensor, "members rows rows"]


class _Spectrum(NamedTuple):
    """Singular values of some remainders, falling, how many are more than rounding, and `axes` @ right:
    their input directions.
    """

    sigma: Float64[Tensor, "members rows"]
    ranks: Int64[Tensor, " members"]
    axes: Float64[Tensor, "members rows rows"]


def studied(module: ModulePack, knowledge: Stack) -> tuple[Alike, ...]:
    """What the remainders for all amounts have in common."""
    by_rank: dict[int, list[int]] = defaultdict(list)
    for member, rank in enumerate(module.ranks):
        by_rank[rank].append(member)
    width = max(knowledge.a.shape[1], knowledge.b.shape[1])
    found: list[Alike] = []
    for rank, members in sorted(by_rank.items()):
        at_once = max(1, LARGEST_BATCH // (width * max(1, rank + len(knowledge.a))))
        batches = (members[start : start + at_once] for start in range(0, len(members), at_once))
        found += [_studied(module, knowledge, batch) for batch in batches]
    return tuple(found)


def _studied(module: ModulePack, knowledge: Stack, members: Sequence[int]) -> Alike:
    right = _over(module, members, module.a, knowledge.a)
    left = _over(module, members, module.b, knowledge.b)
    lengths, axes = torch.linalg.eigh(right @ right.mT)
    apart = lengths > SAME_DIRECTION * lengths[:, -1:]
    roots = lengths.clamp_min(0).sqrt().unsqueeze(1)
    core = torch.where(apart.unsqueeze(1), axes * roots, 0.0)
    into = torch.where(apart.unsqueeze(1), axes / roots, 0.0).mT
    return Alike(tuple(members), module.ranks[members[0]], core, into, left @ left.mT)


def _over(
    module: ModulePack,
    members: Sequence[int],
    half: Float[Tensor, "all_rows width"],
    knowledge: Float[Tensor, "below width"],
) -> Float64[Tensor, "members rows width"]:
    """The rows of each member over those of general knowledge."""
    parts = [half[module.rows_of(member)] for member in members]
    return torch.stack([torch.cat([part, knowledge]) for part in parts]).double()


def recognised(module: ModulePack, knowledge: Stack, alike: Sequence[Alike], amount: float) -> ModulePack:
    """The module with the remainders' prototypes, and nothing in the place of factors.

    Those who work through the base's weight (DoRA, (IA)^3) are recognised as they are.
    """
    prototypes = module.vectors.prototypes.clone()
    ranks = [0] * len(module)
    for some in alike:
        found = _spectrum(some, amount)
        first = found.axes[:, :1] @ _over(module, some.members, module.a, knowledge.a)
        _tell(prototypes, module, some.members, torch.where(found.ranks[:, None, None] > 0, first, 0.0))
        for member, rank in zip(some.members, found.ranks.tolist(), strict=True):
            ranks[member] = rank
    rows = sum(ranks)
    nothing = torch.empty(rows, module.a.shape[1], device="meta"), torch.empty(rows, 1, device="meta")
    return _module(module, prototypes, ranks, *nothing)


def remainders(module: ModulePack, knowledge: Stack, alike: Sequence[Alike], amount: float) -> ModulePack:
    """The same with all directions of the remainders as `a`, and their singular values as `b`."""
    prototypes = module.vectors.prototypes.clone()
    found: dict[int, tuple[Tensor, Tensor]] = {}
    for some in alike:
        spectrum = _spectrum(some, amount)
        directions = spectrum.axes @ _over(module, some.members, module.a, knowledge.a)
        first = torch.where(spectrum.ranks[:, None, None] > 0, directions[:, :1], 0.0)
        _tell(prototypes, module, some.members, first)
        for place, (member, rank) in enumerate(zip(some.members, spectrum.ranks.tolist(), strict=True)):
            found[member] = directions[place, :rank].to(module.a.dtype), spectrum.sigma[place, :rank].float()
    in_order = [found[member] for member in range(len(module))]
    ranks = [len(sigma) for _, sigma in in_order]
    a = torch.cat([a for a, _ in in_order])
    b = torch.cat([sigma for _, sigma in in_order]).unsqueeze(1)  # asked for the lengths of its rows alone
    return _module(module, prototypes, ranks, a, b)


def _spectrum(alike: Alike, amount: float) -> _Spectrum:
    """What rounding leaves of updates that cancel is measured by these updates, and dropped."""
    rows = alike.core.shape[1]
    shares = alike.core.new_full((rows,), -amount)
    shares[: alike.rank] = 1.0
    left = alike.left * shares * shares.unsqueeze(1)
    squares, turns = torch.linalg.eigh(alike.core.mT @ left @ alike.core)
    sigma = squares.clamp_min(0).sqrt().flip(1)
    loudest = left.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt().amax(1, keepdim=True)
    ranks = (sigma > NUMERICAL_RANK * loudest).sum(1)
    return _Spectrum(sigma, ranks, turns.flip(2).mT @ alike.into)


def _tell(
    prototypes: Float[Tensor, "all_members d_in"],
    module: ModulePack,
    members: Sequence[int],
    found: Float64[Tensor, "members 1 d_in"],
) -> None:
    """Write down these members' prototypes, but of those that are recognised as they are."""
    for member, prototype in zip(members, found, strict=True):
        if module.scaled is None or module.scaled.part(member) is None:
            prototypes[member] = prototype[0]


def _module(
    module: ModulePack,
    prototypes: Float[Tensor, "members d_in"],
    ranks: Sequence[int],
    a: Float[Tensor, "rows d_in"],
    b: Float[Tensor, "rows 1"],
) -> ModulePack:
    return replace(
        module,
        vectors=RoutingVectors(prototypes, module.vectors.gates),
        a=a,
        b=b,
        spans=spans_of(ranks),
        moments={},
        growing=None,
    )
