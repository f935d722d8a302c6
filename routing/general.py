"""General knowledge subtracted from every expert, and given back at will (GenKnowSub, arXiv 2505.10939).

With dW_G the mean update of the experts that are named general, an expert e acts as dW_e - g dW_G. So at each
module all experts together subtract one term: g dW_G times the sum of the token's mixing weights. The experts
in the pack stay as they are, shared by requests with any g. What routers recognise experts by is taken from
the differences, and so depends on g (see `routing.remainders`): that is worked out once for each choice of
general experts and g, and the latest few are remembered beside the pack.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from routing.errors import BadRouting
from routing.pack import ModulePack, Pack, places_of
from routing.remainders import Alike, Stack, recognised, remainders, studied
from routing.remembering import Turn


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

    Prototypes are those of the differences, and `a` and singular values too unless the modules are bare;
    nothing is ever mixed from them. Modules without general knowledge are not there. `neutral` is the digest
    of the text that moments were taken on.
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


def differences(pack: Pack, general: Sequence[str], amount: float, turn: Turn = nullcontext) -> Differences:
    """Every expert less `amount` times the mean update of the general ones, as routers see them.

    Worked out in a turn, unless they are remembered. UnknownExpert for a name that is not in the pack.
    """
    key = ("differences", *sorted(general), amount)
    return pack.remembered.get(key, lambda: _differences(pack, general, amount, remainders), turn)


def bare_differences(
    pack: Pack, general: Sequence[str], amount: float, turn: Turn = nullcontext
) -> Differences:
    """The same without factors, for routers that look at prototypes alone: they take a part of the time."""
    key = ("prototypes", *sorted(general), amount)
    return pack.remembered.get(key, lambda: _differences(pack, general, amount, recognised), turn)


def _differences(
    pack: Pack,
    general: Sequence[str],
    amount: float,
    less: Callable[[ModulePack, Stack, Sequence[Alike], float], ModulePack],
) -> Differences:
    knowledge, common = _terms(pack, general), _studied(pack, general)
    return Differences(
        {name: less(pack.modules[name], one, common[name], amount) for name, one in knowledge.items()}
    )


def _terms(pack: Pack, general: Sequence[str]) -> dict[str, Stack]:
    return pack.remembered.get(("terms", *sorted(general)), lambda: _stacked(pack, general))


def _studied(pack: Pack, general: Sequence[str]) -> dict[str, tuple[Alike, ...]]:
    """By module, what the differences for all amounts have in common."""

    def study() -> dict[str, tuple[Alike, ...]]:
        return {name: studied(pack.modules[name], one) for name, one in _terms(pack, general).items()}

    return pack.remembered.get(("studied", *sorted(general)), study)


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
