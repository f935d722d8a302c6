"""Packs: one index version as tensors, and how a request wants to be routed through it.

At each target module the factors of all experts lie under each other (compressed rows): expert i owns the
rows `bounds[i]:bounds[i + 1]` of `a` and `b`. Ranks may differ, nothing is padded, and an expert that does
not touch a module has no row there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.errors import BadRouting, UnknownExpert
from routing.routers import ROUTERS, Router, RoutingVectors, Terms


@dataclass(frozen=True)
class Update:
    """One expert's update at one module as it lies in a pack, scaling folded in: dW = b.T @ a."""

    prototype: Float[Tensor, " d_in"]
    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "rank d_out"]


@dataclass(frozen=True)
class ModulePack:
    """All experts that touch one module; `members` are their places in the pack, ascending."""

    members: tuple[int, ...]
    vectors: RoutingVectors
    a: Float[Tensor, "rows d_in"]
    b: Float[Tensor, "rows d_out"]
    bounds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def owners(self) -> Int[Tensor, " rows"]:
        """For each row, which of the members it belongs to."""
        ranks = torch.tensor(self.ranks)
        return torch.arange(len(self)).repeat_interleave(ranks).to(self.a.device)

    @cached_property
    def member_ids(self) -> Int[Tensor, " members"]:
        """`members` as a tensor on the pack's device."""
        return torch.tensor(self.members, device=self.a.device)

    @cached_property
    def rows_by_member(self) -> Mapping[int, int]:
        """From a member's place in the pack to its row in the routing vectors."""
        return {member: row for row, member in enumerate(self.members)}

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """How many rows each member owns."""
        return tuple(end - start for start, end in zip(self.bounds, self.bounds[1:], strict=False))

    @cached_property
    def row_table(self) -> Int[Tensor, "members widest"]:
        """The rows of each member, filled up with its own first row; see `row_mask`."""
        starts = torch.tensor(self.bounds[:-1]).unsqueeze(1)
        offsets = torch.arange(max(self.ranks)).unsqueeze(0)
        inside = offsets < torch.tensor(self.ranks).unsqueeze(1)
        return torch.where(inside, starts + offsets, starts).to(self.a.device)

    @cached_property
    def row_mask(self) -> Float[Tensor, "members widest"]:
        """One where `row_table` names a row of its own, zero where it was filled up."""
        offsets = torch.arange(max(self.ranks)).unsqueeze(0)
        inside = offsets < torch.tensor(self.ranks).unsqueeze(1)
        return inside.to(device=self.a.device, dtype=self.a.dtype)

    def update(self, row: int) -> Update:
        """The update of the member at this row of the routing vectors, as views."""
        rows = slice(self.bounds[row], self.bounds[row + 1])
        return Update(self.vectors.prototypes[row], self.a[rows], self.b[rows])


@dataclass(frozen=True)
class Pack:
    """One index version, ready to be routed through: its experts in order and their tensors per module.

    `keys` say which bytes each expert was made from, so that a later pack can take over what has not changed.
    """

    experts: tuple[str, ...]
    modules: Mapping[str, ModulePack]
    keys: tuple[str, ...] = ()

    @cached_property
    def places(self) -> Mapping[str, int]:
        """From an expert's name to its place in `experts`."""
        return {name: place for place, name in enumerate(self.experts)}

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        return sum(
            tensor.nbytes
            for module in self.modules.values()
            for tensor in (module.a, module.b, module.vectors.prototypes)
        )


@dataclass(frozen=True)
class Routing:
    """How one request wants to be routed: a router by name, and the only experts it may use (None: all).

    With `shortlist`, the whole prompt first narrows those to so many (see routing.shortlist); 0: not at all.
    """

    router: str
    top_k: int
    temperature: float = 1.0
    experts: tuple[str, ...] | None = None
    shortlist: int = 0

    def __post_init__(self) -> None:
        if self.router not in ROUTERS:
            raise BadRouting("router", self.router, f"one of {', '.join(sorted(ROUTERS))}")
        if self.top_k < 1:
            raise BadRouting("top_k", str(self.top_k), "at least 1")
        if not 0.0 < self.temperature < float("inf"):
            raise BadRouting("temperature", str(self.temperature), "a number above 0")
        if self.shortlist < 0:
            raise BadRouting("shortlist", str(self.shortlist), "0 or more")
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
        return self.router(nothing, seat.module.vectors, seat.terms).experts.shape[1]


def route(pack: Pack, routing: Routing) -> Route:
    """Work out once per request who may speak where; UnknownExpert for a name that is not in the pack."""
    allowed = None if routing.experts is None else places_of(pack, routing.experts)
    electorate = len(pack.experts) if allowed is None else len(allowed)
    seats = {}
    for name, module in pack.modules.items():
        rows = None if allowed is None else _rows_of(module, allowed)
        if rows is None or len(rows):
            seats[name] = Seat(module, Terms(routing.top_k, routing.temperature, electorate, rows))
    return Route(pack, ROUTERS[routing.router], seats)


def places_of(pack: Pack, experts: Sequence[str]) -> frozenset[int]:
    """The places of these experts in the pack; UnknownExpert names the ones that are not members."""
    unknown = sorted(set(experts) - pack.places.keys())
    if unknown:
        raise UnknownExpert(f"not in this index version: {', '.join(unknown)}")
    return frozenset(pack.places[name] for name in experts)


def _rows_of(module: ModulePack, places: frozenset[int]) -> Int[Tensor, " rows"]:
    rows = [row for row, member in enumerate(module.members) if member in places]
    return torch.tensor(rows, dtype=torch.int64, device=module.a.device)


def pack_updates(updates: Sequence[Mapping[str, Update]]) -> dict[str, ModulePack]:
    """Lay the updates of some experts, in order, under each other, module by module."""
    names = dict.fromkeys(name for update in updates for name in update)
    return {name: _pack_module(name, updates) for name in names}


def _pack_module(name: str, updates: Sequence[Mapping[str, Update]]) -> ModulePack:
    members = tuple(place for place, update in enumerate(updates) if name in update)
    present = [updates[place][name] for place in members]
    bounds = [0]
    for update in present:
        bounds.append(bounds[-1] + len(update.a))
    return ModulePack(
        members=members,
        vectors=RoutingVectors(torch.stack([update.prototype for update in present])),
        a=torch.cat([update.a for update in present]),
        b=torch.cat([update.b for update in present]),
        bounds=tuple(bounds),
    )
