"""Packs: one index version as tensors, all that routing and mixing need.

At each target module the factors of all experts lie in common rows: expert i owns the rows of `a` and `b`
from `spans[i, 0]` to before `spans[i, 1]`. Ranks may differ, nothing is padded, and an expert that does not
touch a module has no row there. Versions that follow each other share these rows (see `routing.growing`), so
there may be some that are nobody's in this one.

A bare pack knows its experts by their routing vectors alone: their factors are elsewhere (see
`routing.residence`), and tensors without memory stand in their place, by which nobody can be scored.
One with an excerpt (see `routing.excerpts`) has not even all vectors: those of the excerpt judge prompts, and
the others come with the factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from routing.classifier import Classifier
from routing.errors import UnknownExpert
from routing.growing import OWNED, Growing, Spans, spans_of, under_each_other
from routing.profiles import Profile
from routing.remembering import Remembered
from routing.routing_vectors import RoutingVectors
from routing.scaled_pack import ScaledPack, ScaledPart, scaled_pack
from routing.sketches import Sketch

SMALLEST_DEVIATION = 1e-6
REMEMBERED = 8  # each at most about as large as the factors' half that reads the input


class Moments(NamedTuple):
    """Mean and deviation of scores on neutral text: of one expert (scalars) or of all of a module's."""

    mean: Float[Tensor, "*experts"]
    deviation: Float[Tensor, "*experts"]


@dataclass(frozen=True)
class Update:
    """One expert's update at one module as it lies in a pack, scaling folded in: dW = b.T @ a.

    `gate` is standardised; `moments` are by kind of score, and empty until the pack is calibrated. `scaled`
    is what DoRA and (IA)^3 add to the update through the base's weight.
    """

    prototype: Float[Tensor, " d_in"]
    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "rank d_out"]
    gate: Float[Tensor, " d_in"] | None = None
    moments: Mapping[str, Moments] = field(default_factory=dict)
    scaled: ScaledPart | None = None


class Arrays(NamedTuple):
    """A module's experts as arrays that share their memory."""

    prototypes: NDArray[np.float32]
    a: NDArray[np.float32]
    b: NDArray[np.float32]
    spans: Spans


@dataclass(frozen=True, eq=False)
class ModulePack:
    """All experts that touch one module; `members` are their places in the pack, ascending.

    `growing` is the memory that `a` and `b` are in, if more can be added to it.
    """

    members: tuple[int, ...]
    vectors: RoutingVectors
    a: Float[Tensor, "rows d_in"]
    b: Float[Tensor, "rows d_out"]
    spans: Spans
    moments: Mapping[str, Moments] = field(default_factory=dict)
    scaled: ScaledPack | None = None
    growing: Growing | None = None

    def __len__(self) -> int:
        return len(self.members)

    @property
    def device(self) -> torch.device:
        """Where its routing vectors lie, and its factors where it has them."""
        return self.vectors.prototypes.device

    @property
    def bare(self) -> bool:
        """Whether its factors are elsewhere."""
        return self.a.is_meta

    @cached_property
    def owners(self) -> Int[Tensor, " rows"]:
        """For each row, which of the members it belongs to; as many as there are for one that is nobody's."""
        owners = np.full(len(self.a), len(self), dtype=np.int64)
        for member, (first, last) in enumerate(self.spans.tolist()):
            owners[first:last] = member
        return torch.from_numpy(owners).to(self.device)

    @cached_property
    def member_ids(self) -> Int[Tensor, " members"]:
        """`members` as a tensor on the pack's device."""
        return torch.tensor(self.members, device=self.device)

    @cached_property
    def sigma(self) -> Float[Tensor, " rows"]:
        """The singular value that each row of `b` carries as its length."""
        return torch.linalg.vector_norm(self.b.float(), dim=1)

    @cached_property
    def gated(self) -> Bool[Tensor, " members"]:
        """Which of the members have a gate here."""
        return self.vectors.gates[:, 0].isfinite()

    @cached_property
    def any_gate(self) -> bool:
        """Whether any of the members has a gate: asked once, since an accelerator's answer is waited for."""
        return bool(self.gated.any())

    @cached_property
    def rows_by_member(self) -> Mapping[int, int]:
        """From a member's place in the pack to its row in the routing vectors."""
        return {member: row for row, member in enumerate(self.members)}

    @cached_property
    def ranks(self) -> tuple[int, ...]:
        """How many rows each member owns."""
        return tuple((self.spans[:, 1] - self.spans[:, 0]).tolist())

    @property
    def rows(self) -> int:
        """How many rows its members own together."""
        return int((self.spans[:, 1] - self.spans[:, 0]).sum())

    def rows_of(self, member: int) -> slice:
        """The rows of one member."""
        first, last = self.spans[member].tolist()
        return slice(first, last)

    @cached_property
    def widest(self) -> int:
        """The highest rank."""
        return max(self.ranks, default=0)

    @cached_property
    def row_spans(self) -> Int[Tensor, "members 2"]:
        """`spans` as a tensor on the pack's device."""
        return torch.from_numpy(self.spans).to(self.device)

    @cached_property
    def arrays(self) -> Arrays | None:
        """The same numbers as compiled loops read them; None where they are not float32 on a CPU."""
        parts = (self.vectors.prototypes, self.a, self.b)
        if any(part.device.type != "cpu" or part.dtype != torch.float32 for part in parts):
            return None
        prototypes, a, b = (part.detach().contiguous().numpy() for part in parts)
        return Arrays(prototypes, a, b, self.spans)

    @property
    def sketch(self) -> Sketch | None:
        """That of its vectors, where compiled loops read all that it has."""
        return None if self.arrays is None else self.vectors.sketch

    @cached_property
    def row_table(self) -> Int[Tensor, "members widest"]:
        """The rows of each member, filled up with its own first row; see `row_mask`."""
        starts = torch.from_numpy(self.spans[:, 0]).clamp(max=max(len(self.a) - 1, 0)).unsqueeze(1)
        offsets = torch.arange(self.widest).unsqueeze(0)
        inside = offsets < torch.tensor(self.ranks).unsqueeze(1)
        return torch.where(inside, starts + offsets, starts).to(self.device)

    @cached_property
    def row_mask(self) -> Float[Tensor, "members widest"]:
        """One where `row_table` names a row of its own, zero where it was filled up."""
        offsets = torch.arange(self.widest).unsqueeze(0)
        inside = offsets < torch.tensor(self.ranks).unsqueeze(1)
        return inside.to(device=self.device, dtype=self.a.dtype)

    def update(self, row: int) -> Update:
        """The update of the member at this row of the routing vectors, as views."""
        rows = self.rows_of(row)
        return Update(
            self.vectors.prototypes[row],
            self.a[rows],
            self.b[rows],
            self._gate(row),
            {kind: Moments(found.mean[row], found.deviation[row]) for kind, found in self.moments.items()},
            None if self.scaled is None else self.scaled.part(row),
        )

    def _gate(self, row: int) -> Float[Tensor, " d_in"] | None:
        gate = self.vectors.gates[row]
        return None if self.vectors.absent or not bool(gate[0].isfinite()) else gate


@dataclass(frozen=True)
class Excerpt:
    """A pack of the same experts with vectors of one in so many `parts` of each one's modules.

    `scattered` says whether all modules together lie on several devices.
    """

    pack: Pack
    parts: int
    scattered: bool


@dataclass(frozen=True)
class Pack:
    """One index version, ready to be routed through: its experts in order and their tensors per module.

    `keys` say which bytes each expert was made from, so that a later pack can take over what has not changed.
    `neutral` is the digest of the `text` that the moments were taken on; None before that. `usual` is each
    expert's evidence at one token of it (see `routing.evidence`), NaN for those not measured. `profiles` are
    by expert, and empty where none was given; `profile_keys` are the digests of those that come from a store.
    With an `excerpt` its own vectors are elsewhere. `room` is what keeps the memory for vectors set aside.
    """

    experts: tuple[str, ...]
    modules: Mapping[str, ModulePack]
    keys: tuple[str, ...] = ()
    neutral: str | None = None
    text: Int[Tensor, "sequences length"] | None = None
    usual: Moments | None = None
    profiles: tuple[Profile | None, ...] = ()
    profile_keys: tuple[str | None, ...] = ()
    classifier: Classifier | None = None
    excerpt: Excerpt | None = None
    room: object | None = None

    @property
    def judging(self) -> Pack:
        """The pack by whose vectors prompts are judged before anybody is heard."""
        return self if self.excerpt is None else self.excerpt.pack

    @property
    def parts(self) -> int:
        """Of each expert's modules one in so many has its vectors here; 1: all have."""
        return 1 if self.excerpt is None else self.excerpt.parts

    @cached_property
    def places(self) -> Mapping[str, int]:
        """From an expert's name to its place in `experts`."""
        return {name: place for place, name in enumerate(self.experts)}

    @property
    def bare(self) -> bool:
        """Whether its experts' factors are elsewhere."""
        return any(module.bare for module in self.modules.values())

    @cached_property
    def scattered(self) -> bool:
        """Whether its modules lie on several devices, as those of a base that is spread."""
        if self.excerpt is not None:
            return self.excerpt.scattered
        return len({module.device for module in self.modules.values()}) > 1

    @property
    def nbytes(self) -> int:
        """How much memory its tensors take, the smallest left out; what other versions use too is counted."""
        sketches = [module.sketch for module in self.modules.values()]
        return (
            self.vector_bytes
            + self.factor_bytes
            + sum(one.levels.nbytes for one in sketches if one is not None)
        )

    @property
    def factor_bytes(self) -> int:
        """How much of it factors take."""
        halves = [half for module in self.modules.values() for half in (module.a, module.b)]
        return sum(half.nbytes for half in halves if not half.is_meta)

    @property
    def owned_bytes(self) -> int:
        """How much of that is its experts', and not only other versions'."""
        there = [module for module in self.modules.values() if not module.bare]
        return sum(module.rows * (module.a[:1].nbytes + module.b[:1].nbytes) for module in there)

    def takes(self, new: int, kept: int) -> bool:
        """Whether factors of so many bytes can be added to those here, of which `kept` bytes stay.

        By their size: where an expert touches few modules, one may be laid out anew all the same.
        """
        grounds = [module.growing for module in self.modules.values()]
        spare = sum(0 if one is None else one.spare_bytes for one in grounds)
        used = sum(0 if one is None else one.used_bytes for one in grounds)
        return new <= spare and kept + new >= OWNED * (used + new)

    @property
    def vector_bytes(self) -> int:
        """How much memory the routing vectors take: what grows with the number of experts in a bare pack."""
        return sum(module.vectors.nbytes for module in self.judging.modules.values())

    @cached_property
    def remembered(self) -> Remembered:
        """What was worked out from this pack alone and may be asked for again; see `routing.general`."""
        return Remembered(REMEMBERED)


def places_of(pack: Pack, experts: Sequence[str]) -> frozenset[int]:
    """The places of these experts in the pack; UnknownExpert names the ones that are not members."""
    unknown = sorted(set(experts) - pack.places.keys())
    if unknown:
        raise UnknownExpert(f"not in this index version: {', '.join(unknown)}")
    return frozenset(pack.places[name] for name in experts)


def pack_updates(updates: Sequence[Mapping[str, Update]]) -> dict[str, ModulePack]:
    """Lay the updates of some experts, in order, under each other, module by module."""
    return pack_placed(dict(enumerate(updates)))


def pack_placed(updates: Mapping[int, Mapping[str, Update]]) -> dict[str, ModulePack]:
    """The same of experts that stand at these places of a pack, given in the order of their places."""
    names = dict.fromkeys(name for update in updates.values() for name in update)
    return {
        name: _pack_module({place: update[name] for place, update in updates.items() if name in update})
        for name in names
    }


def updates_of(pack: Pack, place: int) -> dict[str, Update]:
    """The updates of the expert at this place: views, nothing is copied."""
    return {
        name: module.update(module.rows_by_member[place])
        for name, module in pack.modules.items()
        if place in module.rows_by_member
    }


def only(pack: Pack, places: set[int]) -> Mapping[str, ModulePack]:
    """The modules with these experts alone, at the same places; not copied where there are no others."""
    if all(places.issuperset(module.members) for module in pack.modules.values()):
        return pack.modules
    return pack_placed({place: updates_of(pack, place) for place in sorted(places)})


def _pack_module(updates: Mapping[int, Update]) -> ModulePack:
    present = list(updates.values())
    kinds = sorted({kind for update in present for kind in update.moments})
    return ModulePack(
        members=tuple(updates),
        vectors=RoutingVectors(torch.stack([update.prototype for update in present]), _gates(present)),
        a=under_each_other([update.a for update in present]),
        b=under_each_other([update.b for update in present]),
        spans=spans_of([len(update.a) for update in present]),
        moments={kind: _stacked(kind, present) for kind in kinds},
        scaled=scaled_pack(
            {row: update.scaled for row, update in enumerate(present) if update.scaled is not None},
            len(present),
        ),
    )


def _gates(updates: Sequence[Update]) -> Float[Tensor, "experts d_in"]:
    """Row by row; where nobody has a gate, one row of NaN that all of them share."""
    nothing = torch.full_like(updates[0].prototype, torch.nan)
    if all(update.gate is None for update in updates):
        return nothing.expand(len(updates), -1)
    return torch.stack([nothing if update.gate is None else update.gate for update in updates])


def standardised(vectors: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
    """Each vector with mean zero and variance one over its entries; zero where all entries are equal."""
    centred = vectors - vectors.mean(-1, keepdim=True)
    deviation = centred.square().mean(-1, keepdim=True).sqrt()
    return torch.where(deviation > 0, centred / deviation, torch.zeros_like(centred))


def _stacked(kind: str, updates: Sequence[Update]) -> Moments:
    """The moments of all updates; NaN for those that were never measured."""
    unknown = torch.full_like(updates[0].prototype[0], torch.nan)
    each = [update.moments.get(kind, Moments(unknown, unknown)) for update in updates]
    return Moments(torch.stack([one.mean for one in each]), torch.stack([one.deviation for one in each]))
