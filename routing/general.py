"""General knowledge subtracted from every expert, and given back at will (GenKnowSub, arXiv 2505.10939).

With dW_G the mean update of the experts that are named general, an expert e acts as dW_e - g dW_G. So at each
module all experts together subtract one term: g dW_G times the sum of the token's mixing weights. The experts
in the pack stay as they are, shared by requests with any g. What routers recognise experts by is taken from
the differences, and so depends on g: that is worked out once for each choice of general experts and g, and
the latest few are remembered beside the pack.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from routing.errors import BadRouting
from routing.factors import NUMERICAL_RANK
from routing.pack import ModulePack, Pack, RoutingVectors, Update, places_of

REMEMBERED = 4  # choices; each costs about as much memory as the factors' half that reads the input

# Input directions of experts whose part in each other's complement is smaller (squared) are one direction.
SAME_DIRECTION = 1e-13

_AT_WORK = threading.RLock()  # two requests for one choice wait for one computation
Found = TypeVar("Found")


class Stack(NamedTuple):
    """An update b.T @ a at one module."""

    a: Float[Tensor, "rows d_in"]
    b: Float[Tensor, "rows d_out"]


@dataclass(frozen=True)
class SharedTerm:
    """What is added at one module for all experts together: amount * (sum of weights) * b.T @ a x."""

    a: Float[Tensor, "rows d_in"]
    b: Float[Tensor, "rows d_out"]
    amount: float

    def add(
        self,
        output: Float[Tensor, "tokens d_out"],
        hidden: Float[Tensor, "tokens d_in"],
        weights: Float[Tensor, "tokens k"],
    ) -> None:
        """Add it to each token's row of `output`, in place; a token without weights keeps its row."""
        shares = (self.amount * weights.sum(1, keepdim=True)).to(hidden.dtype)
        output.addmm_((hidden @ self.a.T) * shares, self.b)


@dataclass(frozen=True)
class Differences:
    """A pack's modules as routers see them when general knowledge is subtracted.

    Prototypes, `a` and singular values are those of the differences; nothing is ever mixed from them. Modules
    without general knowledge are not there. `neutral` is the digest of the text that moments were taken on.
    """

    modules: Mapping[str, ModulePack]
    neutral: str | None = None


def shared_terms(pack: Pack, general: Sequence[str], amount: float) -> dict[str, SharedTerm]:
    """At each module that a general expert touches: minus `amount` times the mean update of all of them.

    UnknownExpert for a name that is not in the pack, BadRouting for an expert that is not of low rank.
    """
    return {name: SharedTerm(a, b, -amount) for name, (a, b) in _terms(pack, general).items()}


def low_rank(pack: Pack, expert: str) -> bool:
    """Whether an expert's updates are products of thin factors at every module."""
    place = pack.places[expert]
    rows = [(module, module.rows_by_member.get(place)) for module in pack.modules.values()]
    return all(
        row is None or module.scaled is None or module.scaled.part(row) is None for module, row in rows
    )


def differences(pack: Pack, general: Sequence[str], amount: float) -> Differences:
    """Every expert less `amount` times the mean update of the general ones, as routers see them.

    UnknownExpert for a name that is not in the pack.
    """

    def make() -> Differences:
        knowledge = _terms(pack, general)
        return Differences({name: _less(pack.modules[name], one, amount) for name, one in knowledge.items()})

    return _remembered(pack, _key(general, amount), make)


def remember(pack: Pack, general: Sequence[str], amount: float, found: Differences) -> None:
    """Take these for the pack's differences from now on: the same, but calibrated."""
    with _AT_WORK:
        pack.remembered[_key(general, amount)] = found


def _terms(pack: Pack, general: Sequence[str]) -> dict[str, Stack]:
    return _remembered(pack, ("terms", *sorted(general)), lambda: _stacked(pack, general))


def _key(general: Sequence[str], amount: float) -> tuple[object, ...]:
    return ("differences", *sorted(general), amount)


def _remembered(pack: Pack, key: tuple[object, ...], make: Callable[[], Found]) -> Found:
    """What was made for this key, or is made now; beyond the latest few it is forgotten."""
    with _AT_WORK:
        known = pack.remembered
        found: Found = known.pop(key) if key in known else make()
        known[key] = found
        while len(known) > REMEMBERED:
            del known[next(iter(known))]
        return found


def _stacked(pack: Pack, general: Sequence[str]) -> dict[str, Stack]:
    """By module, the general experts' factors under each other; their product is the mean update."""
    places = sorted(places_of(pack, general))
    for name in general:
        if not low_rank(pack, name):
            raise BadRouting(
                "general", f"{name}, which works through the base's weight", "plain LoRA experts"
            )
    found = {}
    for name, module in pack.modules.items():
        rows = [module.rows_by_member[place] for place in places if place in module.rows_by_member]
        updates = [module.update(row) for row in rows]
        if updates:
            a = torch.cat([update.a for update in updates])
            found[name] = Stack(a, torch.cat([update.b for update in updates]) / len(places))
    return found


def _less(module: ModulePack, knowledge: Stack, amount: float) -> ModulePack:
    """The module's experts less general knowledge, as far as that can be told without the base's weight.

    Those that work through it (DoRA, (IA)^3) are recognised as they are.
    """
    updates = [module.update(row) for row in range(len(module))]
    found = [_left(update, knowledge, amount) for update in updates]
    bounds = [0]
    for _, sigma in found:
        bounds.append(bounds[-1] + len(sigma))
    prototypes = [_prototype(update, a) for update, (a, _) in zip(updates, found, strict=True)]
    return replace(
        module,
        vectors=RoutingVectors(torch.stack(prototypes), module.vectors.gates),
        a=torch.cat([a for a, _ in found]).to(module.a.dtype),
        b=torch.cat([sigma for _, sigma in found]).unsqueeze(1),  # asked for the lengths of its rows alone
        bounds=tuple(bounds),
        moments={},
    )


def _prototype(update: Update, a: Float32[Tensor, "rank d_in"]) -> Float32[Tensor, " d_in"]:
    """The direction that is stretched most; zeros where nothing is left."""
    if update.scaled is not None:
        return update.prototype
    return a[0] if len(a) else torch.zeros_like(update.prototype)


def _left(
    expert: Update, knowledge: Stack, amount: float
) -> tuple[Float32[Tensor, "rank d_in"], Float32[Tensor, " rank"]]:
    """V^T and the singular values of an expert's update less `amount` times general knowledge.

    The difference is left.T @ right, with r rows each: its spectrum comes from the r x r products of either
    with itself, in float64. What rounding leaves of updates that cancel is measured by these updates, and
    dropped.
    """
    right = torch.cat([expert.a, knowledge.a]).double()
    left = torch.cat([expert.b, -amount * knowledge.b]).double()
    lengths, axes = torch.linalg.eigh(right @ right.T)
    apart = lengths > SAME_DIRECTION * lengths[-1]
    lengths, axes = lengths[apart], axes[:, apart]
    core = axes * lengths.sqrt()  # right is core @ basis, whose rows are orthonormal
    basis = (axes / lengths.sqrt()).T @ right
    squares, turns = torch.linalg.eigh(core.T @ (left @ left.T) @ core)
    sigma = squares.clamp_min(0).sqrt().flip(0)
    rank = int((sigma > NUMERICAL_RANK * torch.linalg.vector_norm(left, dim=1).max()).sum())
    return (turns.flip(1)[:, :rank].T @ basis).float(), sigma[:rank].float()
