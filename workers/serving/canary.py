"""The canary: passes of a few tokens that show whether a version, and each expert alone, gives numbers.

A mean of many experts hides one whose numbers are too large, and so does a router that happens to choose
others. So each is heard alone, many of them in one pass: each row of its batch belongs to one expert.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.errors import NotFinite
from routing.fixed_routes import everywhere
from routing.hidden import overhearing
from routing.pack import ModulePack, Pack, only
from routing.queries import QueryRouter
from routing.routed import RoutedModel
from routing.routers import Selection, Terms
from routing.routes import Route, Routing, Seat

TOKENS = 8  # of a policy's canary
TOKENS_OF_EACH = 4  # that an expert alone is heard on: as many as look at each other, and little work
AT_ONCE = 32  # experts that a pass hears
Proven = set[tuple[str, str]]  # experts that are known to be sound: the digests of base and factors


def prove_experts(model: RoutedModel, pack: Pack, experts: Mapping[int, str], proven: Proven) -> None:
    """Hear each of these experts alone, unless it is `proven`; NotFinite names one that must not be served.

    `experts` are digests of factors by the experts' places in the pack. Who passes is proven from then on.
    """
    base = model.base.spec.digest
    new = [place for place, factors in experts.items() if (base, factors) not in proven]
    seats = everywhere(pack).seats if new else {}
    for first in range(0, len(new), AT_ONCE):
        lot = new[first : first + AT_ONCE]
        if _wrong(model, Solos(pack, seats, lot)) is not None:
            _require_each(model, pack, lot)  # what one makes of its row may have reached others' rows
        proven.update((base, experts[place]) for place in lot)


def prove_alone(model: RoutedModel, pack: Pack) -> None:
    """NotFinite, with the reason, unless this pack of one expert's factors gives numbers."""
    members = sorted({member for module in pack.modules.values() for member in module.members})
    wrong = _wrong(model, Solos(pack, everywhere(pack).seats, members)) if members else None
    if wrong is not None:
        raise NotFinite(f"heard alone, {wrong}")


def prove_policy(number: int, model: RoutedModel, queries: QueryRouter, wanted: Routing) -> None:
    """NotFinite unless an answer of this version, as its policy routes it, gives numbers."""
    ids = canary(model)
    way = queries.route(wanted, ids[0].tolist())
    if not bool(torch.isfinite(model.logits(ids, route=way)).all()):
        raise NotFinite(f"version {number}: the canary's logits are not finite with router {wanted.router}")


def canary(model: RoutedModel) -> Int[Tensor, "1 tokens"]:
    """A prompt that every base can read."""
    tokens = torch.arange(TOKENS, device=model.base.device)
    return tokens.remainder(model.base.spec.vocabulary).unsqueeze(0)


def _require_each(model: RoutedModel, pack: Pack, places: Sequence[int]) -> None:
    for place in places:
        try:
            prove_alone(model, replace(pack, modules=only(pack, {place})))
        except NotFinite as error:
            raise NotFinite(f"expert {pack.experts[place]}: {error}") from error


class Solos:
    """The way of a batch that has a row for each of these experts, which has the whole weight there.

    At modules that an expert does not touch its row is plain base.
    """

    def __init__(self, pack: Pack, seats: Mapping[str, Seat], lot: Sequence[int]) -> None:
        touched = {
            name: seat
            for name, seat in seats.items()
            if any(place in seat.module.rows_by_member for place in lot)
        }
        self.lot = lot
        self.loudest: list[Float[Tensor, ""]] = []  # at each module: what its updates may at most be, squared
        self.route = Route(pack, partial(_choose, lot, self.loudest), touched)


def _choose(
    lot: Sequence[int],
    loudest: list[Float[Tensor, ""]],
    hidden: Float[Tensor, "tokens d_in"],
    module: ModulePack,
    _terms: Terms,
) -> Selection:
    """As a router does: for each row its expert. A method would keep itself and the pack in a circle."""
    there = [module.rows_by_member.get(place) for place in lot]
    chosen = torch.tensor([[row or 0] for row in there], device=hidden.device)
    weights = torch.tensor([[float(row is not None)] for row in there], device=hidden.device)
    sizes = torch.stack([_size(module, row) for row in there])
    row_of = torch.arange(len(hidden), device=hidden.device) * len(lot) // len(hidden)
    loudest.append((sizes[row_of] * torch.linalg.vector_norm(hidden.float(), dim=1)).square().max())
    return Selection(chosen[row_of], weights[row_of])


def _size(module: ModulePack, row: int | None) -> Float[Tensor, ""]:
    """By how much at most a member's update makes a vector longer, or more; 0 for nobody."""
    if row is None:
        return torch.zeros((), device=module.device)
    mine = module.rows_of(row)
    a, b = (torch.linalg.vector_norm(half[mine].float()) for half in (module.a, module.b))
    return a * b


def _wrong(model: RoutedModel, solos: Solos) -> str | None:
    """What is wrong where these experts are heard alone; None: nothing is.

    Norms square what they are given: whose square is infinite becomes zero there, which is a number, but only
    for as long as it is not infinite itself.
    """
    vocabulary = model.base.spec.vocabulary
    tokens = torch.arange(TOKENS_OF_EACH, device=model.base.device) * vocabulary // TOKENS_OF_EACH
    with overhearing() as overheard:
        logits = model.last_logits(tokens.expand(len(solos.lot), -1), route=solos.route)
    states = logits if overheard.states is None else overheard.states
    if not all(bool(torch.isfinite(part).all()) for part in (logits, states)):
        return "the canary's logits are not finite"
    if not all(bool(torch.isfinite(square)) for square in solos.loudest):
        return "what it adds is so large that its square is not finite"
    return None
