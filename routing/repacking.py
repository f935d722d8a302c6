"""A pack out of another one: what stays is copied run by run, and only what is new is laid in anew.

A new version mostly is the old one with an expert more or less. Expert by expert that would be tens of
thousands of small steps of Python, during which a process that also answers stutters; run by run it is a few
copies of large tensors for each module. Where nobody has come or gone nothing is copied: versions share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from routing.pack import ModulePack, Moments, Pack, RoutingVectors, Update, pack_updates
from routing.scaled_pack import ScaledPack, scaled_pack
from routing.sketches import Sketch, resketched

NEW = -1
Places = NDArray[np.int64]


class _Part(NamedTuple):
    """Some neighbours as they lie in a module's pack; `gated`: one of them may have a gate."""

    prototypes: Float[Tensor, "members d_in"]
    gates: Float[Tensor, "members d_in"]
    a: Float[Tensor, "rows d_in"]
    b: Float[Tensor, "rows d_out"]
    ranks: tuple[int, ...]
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
    parts = list(mixed.parts)
    ranks = [rank for part in parts for rank in part.ranks]
    prototypes = torch.cat([part.prototypes for part in parts])
    return ModulePack(
        members=tuple(mixed.places.tolist()),
        vectors=RoutingVectors(prototypes, _gates(parts), _sketch(mixed, prototypes)),
        a=torch.cat([part.a for part in parts]),
        b=torch.cat([part.b for part in parts]),
        bounds=(0, *np.cumsum(ranks).tolist()),
        moments={kind: _moments(found, mixed.origin) for kind, found in mixed.old.moments.items()},
        scaled=_scaled(mixed),
    )


def _sketch(mixed: _Mixed, prototypes: Float[Tensor, "members d_in"]) -> Sketch | None:
    """Out of the one before, if that is there already: else nobody may need one."""
    before = mixed.old.vectors.made
    return None if before is None else resketched(before, mixed.origin, prototypes.detach().numpy())


def _gates(parts: Sequence[_Part]) -> Float[Tensor, "members d_in"]:
    """Row by row; where nobody has a gate, one row of NaN that all of them share."""
    if not any(part.gated for part in parts):
        return parts[0].gates[0].clone().expand(sum(len(part.gates) for part in parts), -1)
    return torch.cat([part.gates for part in parts])


def _run(old: ModulePack, first: int, last: int) -> _Part:
    """The members of these rows, as views."""
    rows = slice(old.bounds[first], old.bounds[last])
    prototypes, gates = old.vectors.prototypes[first:last], old.vectors.gates[first:last]
    return _Part(prototypes, gates, old.a[rows], old.b[rows], old.ranks[first:last], old.any_gate)


def _laid_in(update: Update) -> _Part:
    """An expert that is new."""
    nothing = torch.full_like(update.prototype, torch.nan)
    gate = nothing if update.gate is None else update.gate
    ranks, gated = (len(update.a),), update.gate is not None
    return _Part(update.prototype.unsqueeze(0), gate.unsqueeze(0), update.a, update.b, ranks, gated)


def _moments(found: Moments, origin: Places) -> Moments:
    """Those of the members that stay; NaN for the new ones, which nobody has measured."""
    rows = torch.from_numpy(origin).to(found.mean.device)
    mean, deviation = (part[rows].masked_fill(rows == NEW, torch.nan) for part in found)
    return Moments(mean, deviation)


def _scaled(mixed: _Mixed) -> ScaledPack | None:
    """The scales of those who have some, one by one: they are few, or small."""
    old = mixed.old.scaled
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
