"""Packs from experts in memory, and from an index version in a store, taking over what has not changed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from routing.blocks import Blocks, Following
from routing.errors import BadManifest, RoutingError, WrongBase
from routing.excerpts import excerpt_of, with_excerpt, without_vectors
from routing.factors import Factors
from routing.halves import Halves, Recognised
from routing.index import ExpertEntry, IndexManifest
from routing.pack import ModulePack, Moments, Pack, Update, pack_updates, standardised
from routing.profiles import Profile
from routing.prototypes import RoutingVector, routing_vectors
from routing.repacking import repacked
from routing.rooms import Rooms
from routing.scaled_pack import ScaledPart
from routing.spec import BaseSpec
from routing.spread import Devices, are_several, device_at
from routing.store import IndexStore

Progress = Callable[[int, int, str], None]
Updates = Mapping[str, Update]


def quiet(_done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


def pack_experts(
    experts: Mapping[str, Mapping[str, Factors]],
    spec: BaseSpec,
    *,
    gates: Mapping[str, Mapping[str, torch.Tensor]] | None = None,
    profiles: Mapping[str, Profile] | None = None,
    device: Devices,
    dtype: torch.dtype,
) -> Pack:
    """A pack of experts in memory, ordered by name; RoutingError if one does not fit the base."""
    names, learnt = sorted(experts), gates or {}
    updates = [
        _updates(
            name,
            routing_vectors(experts[name], learnt.get(name)),
            experts[name],
            spec,
            device=device,
            dtype=dtype,
        )
        for name in names
    ]
    introduced = profiles or {}
    return Pack(tuple(names), pack_updates(updates), profiles=tuple(introduced.get(name) for name in names))


def load_pack(
    store: IndexStore,
    manifest: IndexManifest,
    spec: BaseSpec,
    *,
    device: Devices,
    dtype: torch.dtype,
    previous: Pack | None = None,
    progress: Progress = quiet,
) -> Pack:
    """The pack of an index version; every object is compared with its digest while it is read.

    Experts that `previous` holds from the same objects are taken over without reading them. Raises WrongBase,
    MissingObject, CorruptObject, or RoutingError for an expert that does not fit the base or is not finite.
    """
    _require_base(manifest, spec)
    kept = {} if previous is None else _taken_over(manifest, previous)
    read: dict[int, Updates] = {}
    fresh = {place: entry for place, entry in enumerate(manifest.experts) if place not in kept}
    vectors = {place: store.read_vectors(entry) for place, entry in fresh.items()}
    rooms = None
    if previous is None:
        rooms = Rooms(map(_ranks, vectors.values()), spec, device=device, dtype=dtype)
    for place, entry in enumerate(manifest.experts):
        if place not in kept:
            updates = _read(store, entry, vectors.pop(place), spec, device, dtype)
            read[place] = updates if rooms is None else rooms.place(updates)
        progress(place + 1, len(manifest.experts), entry.adapter)
    if previous is not None:
        return _pack(store, manifest, previous, repacked(previous, kept, read))
    modules = pack_updates(list(read.values()))
    return _pack(store, manifest, None, modules if rooms is None else rooms.grown(modules))


def load_bare(
    store: IndexStore,
    manifest: IndexManifest,
    spec: BaseSpec,
    *,
    device: Devices,
    previous: Pack | None = None,
    parts: int = 1,
    progress: Progress = quiet,
) -> Pack:
    """As `load_pack`, of vectors alone: what is wrong with experts' factors is not known yet.

    With more than one of `parts` it has those of an excerpt (see `routing.excerpts`). What `previous` has is
    taken over if its excerpt is of as many.
    """
    _require_base(manifest, spec)
    if previous is not None and previous.parts != parts:
        previous = None
    kept = {} if previous is None else _taken_over(manifest, previous)
    read = Blocks() if previous is None else Following(previous, kept)
    excerpt = Blocks() if previous is None else Following(previous.judging, kept)
    for place, entry in enumerate(manifest.experts):
        if place not in kept:
            updates = _read(store, entry, store.read_vectors(entry), spec, device, None)
            if parts > 1:
                excerpt.add(place, excerpt_of(updates, parts))
                updates = without_vectors(updates)
            read.add(place, updates)
        progress(place + 1, len(manifest.experts), entry.adapter)
    pack = _pack(store, manifest, previous, read.modules())
    if parts == 1:
        return pack
    return with_excerpt(pack, excerpt.modules(), parts, scattered=are_several(device))


def _require_base(manifest: IndexManifest, spec: BaseSpec) -> None:
    if manifest.base != spec.digest:
        raise WrongBase(f"this index version grows on base {manifest.base}, not on {spec.digest}")


def _pack(
    store: IndexStore, manifest: IndexManifest, previous: Pack | None, modules: Mapping[str, ModulePack]
) -> Pack:
    """The version's pack out of its modules and what is known of its experts beside them."""
    keys = tuple(key_of(entry) for entry in manifest.experts)
    same_text = previous is not None and previous.neutral == manifest.calibration
    usual = _usual(previous, keys) if previous is not None and same_text else None
    learnt = manifest.classifier
    return Pack(
        tuple(entry.adapter for entry in manifest.experts),
        modules,
        keys,
        manifest.calibration if same_text else None,
        usual=usual,
        profiles=_profiles(store, manifest.experts, previous),
        profile_keys=tuple(entry.profile for entry in manifest.experts),
        classifier=None if learnt is None else store.read_classifier(learnt),
    )


def _taken_over(manifest: IndexManifest, previous: Pack) -> dict[int, int]:
    """The places of experts that `previous` holds from the same objects, and theirs in it.

    Of several that are made from the same each stays itself, and so keeps its rows.
    """
    known = {key: place for place, key in enumerate(previous.keys)}
    found = {}
    for place, entry in enumerate(manifest.experts):
        key, own = key_of(entry), previous.places.get(entry.adapter)
        if key in known:
            found[place] = known[key] if own is None or previous.keys[own] != key else own
    return found


def join_guests(
    store: IndexStore,
    pack: Pack,
    guests: Sequence[ExpertEntry],
    spec: BaseSpec,
    *,
    device: Devices,
    dtype: torch.dtype,
) -> Pack:
    """The pack with these experts beside its own, each in the place of another release of the same adapter.

    Only the guests are read; where the pack is bare, their vectors alone. The version's classifier stays: it
    does not know them, and what it makes of experts that it does not know is said in `routing.priors`. Errors
    as `load_pack`, but for WrongBase.
    """
    invited = {entry.adapter: entry for entry in guests}
    names = tuple(sorted({*pack.experts, *invited}))
    own = {name: pack.places[name] for name in names if name not in invited}
    kept = {place: own[name] for place, name in enumerate(names) if name in own}
    read = {
        place: _read(
            store,
            invited[name],
            store.read_vectors(invited[name]),
            spec,
            device,
            None if pack.bare else dtype,
        )
        for place, name in enumerate(names)
        if name in invited
    }
    keys = tuple(pack.keys[own[name]] if name in own else key_of(invited[name]) for name in names)
    given = pack.profiles or (None,) * len(pack.experts)
    before, whole = pack.excerpt, read
    if before is not None:
        read = {place: without_vectors(updates) for place, updates in whole.items()}
    joined = replace(
        pack,
        experts=names,
        modules=repacked(pack, kept, read),
        keys=keys,
        usual=_usual(pack, keys),
        profiles=tuple(given[own[name]] if name in own else _profile(store, invited[name]) for name in names),
        profile_keys=(),
    )
    if before is None:
        return joined
    excerpt = {place: excerpt_of(updates, before.parts) for place, updates in whole.items()}
    judging = repacked(before.pack, kept, excerpt)
    return with_excerpt(joined, judging, before.parts, scattered=before.scattered)


def _profiles(
    store: IndexStore, entries: Sequence[ExpertEntry], previous: Pack | None
) -> tuple[Profile | None, ...]:
    """Those that `previous` has are not read again."""
    known = {} if previous is None else dict(zip(previous.profile_keys, previous.profiles, strict=False))
    return tuple(known.get(entry.profile) or _profile(store, entry) for entry in entries)


def _profile(store: IndexStore, entry: ExpertEntry) -> Profile | None:
    return None if entry.profile is None else store.read_profile(entry.profile)


def read_halves(
    store: IndexStore, entry: ExpertEntry, spec: BaseSpec, *, dtype: torch.dtype, recognised: bool = False
) -> dict[str, Halves]:
    """The factors alone of an expert of a bare pack, by module, copied to the host's memory out of a file.

    With its routing vectors, where the pack has them not and it is to be `recognised` by what is read.
    MissingObject, CorruptObject, or RoutingError for an expert that does not fit the base or is not finite.
    """
    here = torch.device("cpu")
    found = store.map_factors(entry).items()
    mapped = {name: _halves(entry.adapter, name, module, spec, here, dtype) for name, module in found}
    halves = {name: half.copied(here) for name, half in mapped.items()}
    if not recognised:
        return halves
    vectors = store.read_vectors(entry)
    _require_same(entry.adapter, vectors, halves)
    return {
        name: replace(half, recognised=_recognised(entry.adapter, name, vectors[name], here))
        for name, half in halves.items()
    }


def _read(
    store: IndexStore,
    entry: ExpertEntry,
    vectors: Mapping[str, RoutingVector],
    spec: BaseSpec,
    device: Devices,
    dtype: torch.dtype | None,
) -> Updates:
    """An expert's updates; bare ones where no dtype is given."""
    if dtype is None:
        return _bare_updates(entry.adapter, vectors, spec, device)
    factors = store.read_factors(entry)
    _require_same(entry.adapter, vectors, factors)
    return _updates(entry.adapter, vectors, factors, spec, device=device, dtype=dtype)


def _require_same(expert: str, vectors: Collection[str], factors: Collection[str]) -> None:
    if set(vectors) != set(factors):
        raise BadManifest(f"{expert}: its vectors and its factors are about different modules")


def _updates(
    expert: str,
    vectors: Mapping[str, RoutingVector],
    factors: Mapping[str, Factors],
    spec: BaseSpec,
    *,
    device: Devices,
    dtype: torch.dtype,
) -> Updates:
    """One expert's updates as they lie in a pack, in the base's order of modules."""
    updates = {}
    for name, module in factors.items():
        here = device_at(device, name)
        half = _halves(expert, name, module, spec, here, dtype)
        known = _recognised(expert, name, vectors[name], here)
        updates[name] = Update(known.prototype, half.a, half.b, known.gate, scaled=half.scaled)
    return updates


def _bare_updates(
    expert: str, vectors: Mapping[str, RoutingVector], spec: BaseSpec, device: Devices
) -> Updates:
    """The same without factors: tensors without memory stand in their place."""
    updates = {}
    for name, vector in vectors.items():
        _require_target(expert, name, spec)
        target, rank = spec.module(name), len(vector.sigma)
        if vector.prototype.shape != (target.d_in,):
            found = tuple(vector.prototype.shape)
            raise RoutingError(f"{expert}, {name}: found a prototype of {found}, expected ({target.d_in},)")
        known = _recognised(expert, name, vector, device_at(device, name))
        a, b = _nothing(rank, target.d_in), _nothing(rank, target.d_out)
        updates[name] = Update(known.prototype, a, b, known.gate)
    return updates


@lru_cache(maxsize=4096)
def _nothing(rank: int, width: int) -> Float[Tensor, "rank width"]:
    """A tensor without memory; one for all experts of a shape, since a tensor itself takes some."""
    return torch.empty(rank, width, device="meta")


def _recognised(expert: str, name: str, vector: RoutingVector, device: torch.device) -> Recognised:
    """Prototype and standardised gate of an expert at one module."""
    prototype, gate = vector.prototype, vector.gate
    _require_finite(expert, name, [prototype] if gate is None else [prototype, gate])
    learnt = None if gate is None else standardised(gate.float()).to(device)
    return Recognised(prototype.to(device, torch.float32), learnt)


def _halves(
    expert: str, name: str, module: Factors, spec: BaseSpec, device: torch.device, dtype: torch.dtype
) -> Halves:
    """One expert's factors at one module, if they fit the base and are finite."""
    _require_fit(expert, name, module, spec)
    scaled = _scaled(module, device, dtype)
    a, b = module.a.to(dtype), module.b.T.to(dtype)  # what float32 can hold float16 may not
    parts = [a, b]
    if scaled is not None:
        parts += [scaled.directions, *scaled.scales.parts()]
    _require_finite(expert, name, parts)
    return Halves(a.to(device), b.to(device), scaled)


def _require_finite(expert: str, name: str, tensors: Iterable[Tensor]) -> None:
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
        raise RoutingError(f"{expert}, {name}: found NaN or infinity in its factors, prototype or gate")


def _scaled(module: Factors, device: torch.device, dtype: torch.dtype) -> ScaledPart | None:
    """What an update does through the base's weight, and the directions that it is scored by."""
    if module.scales is None:
        return None
    nearest = module.leading
    return ScaledPart(
        module.scales.to(device, dtype), nearest.a.to(device, dtype), nearest.sigma.to(device, torch.float32)
    )


def _require_target(expert: str, name: str, spec: BaseSpec) -> None:
    if name not in spec:
        raise RoutingError(f"{expert}: {name} is not a target module of {spec.name}")


def _require_fit(expert: str, name: str, factors: Factors, spec: BaseSpec) -> None:
    _require_target(expert, name, spec)
    target = spec.module(name)
    found, expected = (factors.a.shape[1], factors.b.shape[0]), (target.d_in, target.d_out)
    if found != expected:
        raise RoutingError(f"{expert}, {name}: found widths {found}, expected {expected}")
    if factors.scales is not None and not factors.scales.fit(*expected):
        raise RoutingError(f"{expert}, {name}: found scales of other widths, expected {expected}")


def _ranks(vectors: Mapping[str, RoutingVector]) -> dict[str, int]:
    return {name: len(vector.sigma) for name, vector in vectors.items()}


def key_of(entry: ExpertEntry) -> str:
    """What of an expert lies in a pack: two entries with one key are the same to it."""
    return f"{entry.vectors}+{entry.factors}"


def _usual(previous: Pack, keys: Sequence[str]) -> Moments | None:
    """What the experts that are taken over have as usual evidence; NaN for the others."""
    if previous.usual is None:
        return None
    mean, deviation = previous.usual
    rows = {key: row for row, key in enumerate(previous.keys)}
    taken = [(place, rows[key]) for place, key in enumerate(keys) if key in rows]
    here, there = [place for place, _ in taken], [row for _, row in taken]
    carried = mean.new_full((2, len(keys)), torch.nan)
    carried[:, here] = torch.stack([mean, deviation])[:, there]
    return Moments(*carried)
