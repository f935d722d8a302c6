"""Routes: how one request wants to be routed through a pack, worked out once before its first token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from routing.errors import BadRouting
from routing.index import RoutingPolicy
from routing.pack import ModulePack, Pack, places_of
from routing.routers import ALWAYS_CALIBRATED, ROUTERS, Router, Terms


@dataclass(frozen=True)
class Routing:
    """How one request wants to be routed: a router by name, and the only experts it may use (None: all).

    With `shortlist`, the whole prompt first narrows those to so many (see routing.shortlist); 0: not at all.
    `calibrated` and `abstain` are explained at `routing.routers.Terms`.
    """

    router: str
    top_k: int
    temperature: float = 1.0
    experts: tuple[str, ...] | None = None
    shortlist: int = 0
    calibrated: bool = False
    abstain: float | None = None

    def __post_init__(self) -> None:
        if self.router not in ROUTERS:
            raise BadRouting("router", self.router, f"one of {', '.join(sorted(ROUTERS))}")
        if self.top_k < 1:
            raise BadRouting("top_k", str(self.top_k), "at least 1")
        if not 0.0 < self.temperature < float("inf"):
            raise BadRouting("temperature", str(self.temperature), "a number above 0")
        if self.shortlist < 0:
            raise BadRouting("shortlist", str(self.shortlist), "0 or more")
        if self.abstain is not None and not math.isfinite(self.abstain):
            raise BadRouting("abstain", str(self.abstain), "a number, or nothing")
        if self.router == "single" and (self.experts is None or len(self.experts) != 1):
            raise BadRouting("experts", str(self.experts), "exactly one expert for the router 'single'")


@dataclass(frozen=True)
class Seat:
    """One module's experts together with one request's terms there."""

    module: ModulePack
    terms: Terms


@dataclass(frozen=True)
class Route:
    """A request's way through a pack. Modules without an allowed expert have no seat: they are plain base."""

    pack: Pack
    router: Router
    seats: Mapping[str, Seat]

    @property
    def entries(self) -> int:
        """How many experts are selected for one token in all modules together, as the router itself says."""
        return sum(self._width(seat) for seat in self.seats.values())

    def _width(self, seat: Seat) -> int:
        nothing = torch.zeros_like(seat.module.vectors.prototypes[:1])
        return self.router(nothing, seat.module, seat.terms).experts.shape[1]


def route(pack: Pack, routing: Routing) -> Route:
    """Work out once per request who may speak where.

    UnknownExpert for a name that is not in the pack; BadRouting for what the pack cannot do.
    """
    if needs_moments(routing) and pack.modules and pack.neutral is None:
        raise BadRouting("router", f"{routing.router}, calibrated", "an index version with neutral text")
    allowed = None if routing.experts is None else places_of(pack, routing.experts)
    electorate = len(pack.experts) if allowed is None else len(allowed)
    seats = {}
    for name, module in pack.modules.items():
        rows = None if allowed is None else _rows_of(module, allowed)
        if rows is None or len(rows):
            terms = Terms(
                routing.top_k, routing.temperature, electorate, rows, routing.calibrated, routing.abstain
            )
            seats[name] = Seat(module, terms)
    return Route(pack, ROUTERS[routing.router], seats)


def routing_of(policy: RoutingPolicy, **said: Any) -> Routing:
    """A library's own routing, in which every expert may speak, with what is `said` in its place.

    What belongs to the policy's router is left behind with it, and who is named is not narrowed.
    """
    usual = asdict(policy)
    if said.get("router", policy.router) != policy.router:
        usual |= {"calibrated": False, "abstain": None}
    if "router" in said or said.get("experts") is not None:
        usual["shortlist"] = 0
    return Routing(**(usual | said))


def needs_moments(routing: Routing) -> bool:
    """Whether scores must be measured in deviations from their mean on neutral text."""
    return routing.calibrated or routing.router in ALWAYS_CALIBRATED or routing.shortlist > 0


def _rows_of(module: ModulePack, places: frozenset[int]) -> Int[Tensor, " rows"]:
    rows = [row for row, member in enumerate(module.members) if member in places]
    return torch.tensor(rows, dtype=torch.int64, device=module.a.device)
