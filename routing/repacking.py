"""A pack out of another one: only what is new is laid in anew.

A new version mostly is the old one with an expert more or less. Factors, which are nearly all of it, are not
copied: new ones are added to them (see `routing.growing`). Routing vectors are, since they lie in the order
of the experts: run by run, where expert by expert would be tens of thousands of small steps of Python, during
which a process that also answers stutters. Where nobody has come or gone versions share these too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from routing.growing import Growing, Half, Spans, moved
from routing.pack import ModulePack, Moments, Pack, Update, pack_updates
from routing.routing_vectors import RoutingVectors, gates_under_each_other
from routing.scaled_pack import ScaledPack, scaled_pack
from routing.sketches import Sketch, resketched

NEW = -1
Places = NDArray[np.int64]


class _Part(NamedTuple):
    """Routing vectors of some neighbours as they lie in a module's pack; `gated`: one may have a gate."""

    prototypes: Float[Tensor, "members d_in"]
    gates: Float[Tensor, "members d_in"]
    gated: bool


@dataclass(frozen=True)
class _Mixed:
    """One module to be made: the place of each of its members in the new pack, and where that comes from.

    `origin` is a row of the old module's routing vectors, or `NEW`.
    """

    old: ModulePack
    places: Places
    origin: Places
    new: Mapping[int, Update]

    @property
    def parts(self) -> Iterator[_Part]:
        """All members in order, those that were neighbours before together."""
        follows = (np.diff(self.origin) == 1) & (self.origin[:-1] != NEW)
        starts = [0, *(np.flatnonzero(~follows) + 1).tolist()]
        for start, stop in zip(starts, [*starts[1:], len(self.origin)], strict=True):
            first = int(self.origin[start])
            if first == NEW:
                yield _laid_in(self.new[int(self.places[start])])
            else:
                yield _run(self.old, first, first + stop - start)


def repacked(
    previous: Pack, kept: Mapping[int, int], new: Mapping[int, Mapping[str, Update]]
) -> dict[str, ModulePack]:
    """The modules of a pack whose experts are those of `previous` at `kept`, and the `new` ones, by place.

    Each place of the new pack is in one of both. The same tensors as `pack_updates` of all these experts.
    """
    count = len(kept) + len(new)
    before = np.full(count, NEW, dtype=np.int64)
    before[list(kept)] = list(kept.values())
    modules = {}
    for name, old in previous.modules.items():
        fresh = {place: updates[name] for place, updates in new.items() if name in updates}
        origin = _origins(old, len(previous.experts))[before]
        places = np.flatnonzero((origin != NEW) | np.isin(np.arange(count), list(fresh)))
        if len(places):
            modules[name] = _module(_Mixed(old, places, origin[places], fresh))
    return modules | _unseen(count, new, previous)


def _origins(old: ModulePack, experts: int) -> Places:
    """From a place in the old pack to the module's row; the last entry is for `NEW`."""
    rows = np.full(experts + 1, NEW, dtype=np.int64)
    rows[list(old.members)] = np.arange(len(old.members))
    return rows


def _unseen(count: int, new: Mapping[int, Mapping[str, Update]], previous: Pack) -> dict[str, ModulePack]:
    """Modules that only new experts touch."""
    foreign = {
        place: {name: update for name, update in updates.items() if name not in previous.modules}
        for place, updates in new.items()
    }
    return pack_updates([foreign.get(place, {}) for place in range(count)])


def _module(mixed: _Mixed) -> ModulePack:
    if np.array_equal(mixed.origin, np.arange(len(mixed.old))):  # nobody has come or gone here
        return replace(mixed.old, members=tuple(mixed.places.tolist()))
    parts, factors = list(mixed.parts), _factors(mixed)
    prototypes = torch.cat([part.prototypes for part in parts])
    any_gate = any(part.gated for part in parts)
    gates = gates_under_each_other([part.gates for part in parts], any_gate=any_gate)
    return ModulePack(
        members=tuple(mixed.places.tolist()),
        vectors=RoutingVectors(prototypes, gates, _sketch(mixed, prototypes)),
        a=factors.a,
        b=factors.b,
        spans=factors.spans,
        moments={kind: _moments(found, mixed.origin) for kind, found in mixed.old.moments.items()},
        scaled=_scaled(mixed),
        growing=factors.growing,
    )


def _sketch(mixed: _Mixed, prototypes: Float[Tensor, "members d_in"]) -> Sketch | None:
    """Out of the one before, if that is there already: else nobody may need one."""
    before = mixed.old.vectors.made
    return None if before is None else resketched(before, mixed.origin, prototypes.detach().numpy())


class _Factors(NamedTuple):
    """A module's rows, which versions have in common, and where those of its members are."""

    a: Float[Tensor, "rows d_in"]
    b: Float[Tensor, "rows d_out"]
    spans: Spans
    growing: Growing


def _factors(mixed: _Mixed) -> _Factors:
    """New ones are added to the old ones, or where that cannot be to a copy of those that stay."""
    old, stays = mixed.old, _first_of_each(mixed.origin)
    halves = [_half(mixed, row) for row in np.flatnonzero(~stays).tolist()]
    kept, growing = old.spans[mixed.origin[stays]], old.growing
    laid = None if growing is None else growing.add(halves, int((kept[:, 1] - kept[:, 0]).sum()))
    if laid is None or growing is None:
        growing, kept = moved(old.a, old.b, kept, sum(len(half.a) for half in halves))
        laid = growing.add(halves)
        assert laid is not None
    spans = np.empty((len(stays), 2), dtype=np.int64)
    spans[stays], spans[~stays] = kept, laid.added
    return _Factors(laid.a, laid.b, spans, growing)


def _first_of_each(origin: Places) -> NDArray[np.bool_]:
    """Which members keep their rows: a row is one member's, and two may be made from one expert."""
    stays = np.zeros(len(origin), dtype=np.bool_)
    stays[np.unique(origin, return_index=True)[1]] = True
    return stays & (origin != NEW)


def _half(mixed: _Mixed, row: int) -> Half:
    """The rows of a member that has none yet."""
    origin = int(mixed.origin[row])
    if origin == NEW:
        update = mixed.new[int(mixed.places[row])]
        return Half(update.a, update.b)
    mine = mixed.old.rows_of(origin)
    return Half(mixed.old.a[mine], mixed.old.b[mine])


def _run(old: ModulePack, first: int, last: int) -> _Part:
    """The members of these rows of the routing vectors, as views."""
    gated = not old.vectors.absent and old.any_gate
    return _Part(old.vectors.prototypes[first:last], old.vectors.gates[first:last], gated)


def _laid_in(update: Update) -> _Part:
    """An expert that is new."""
    nothing = torch.full_like(update.prototype, torch.nan)
    gate = nothing if update.gate is None else update.gate
    return _Part(update.prototype.unsqueeze(0), gate.unsqueeze(0), update.gate is not None)


def _moments(found: Moments, origin: Places) -> Moments:
    """Those of the members that stay; NaN for the new ones, which nobody has measured."""
    rows = torch.from_numpy(origin).to(found.mean.device)
    mean, deviation = (part[rows].masked_fill(rows == NEW, torch.nan) for part in found)
    return Moments(mean, deviation)


def _scaled(mixed: _Mixed) -> ScaledPack | None:
    """The scales of those who have some, one by one: they are few, or small."""
    old = mixed.old.scaled
    if old is None and all(update.scaled is None for update in mixed.new.values()):
        return None
    having = set() if old is None else set(old.members.tolist())
    parts = {}
    for row, (place, origin) in enumerate(zip(mixed.places.tolist(), mixed.origin.tolist(), strict=True)):
        part = None
        if origin == NEW:
            part = mixed.new[place].scaled
        elif old is not None and origin in having:
            part = old.part(origin)
        if part is not None:
            parts[row] = part
    return scaled_pack(parts, len(mixed.places))
