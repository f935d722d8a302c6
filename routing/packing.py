"""Packs from experts in memory, and from an index version in a store, taking over what has not changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from routing.errors import BadManifest, RoutingError, WrongBase
from routing.factors import Factors
from routing.index import ExpertEntry, IndexManifest
from routing.pack import Moments, Pack, Update, pack_updates, standardised
from routing.profiles import Profile
from routing.prototypes import RoutingVector, routing_vectors
from routing.repacking import repacked
from routing.scaled_pack import ScaledPart
from routing.spec import BaseSpec
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
    device: torch.device,
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
    device: torch.device,
    dtype: torch.dtype,
    previous: Pack | None = None,
    progress: Progress = quiet,
) -> Pack:
    """The pack of an index version; every object is compared with its digest while it is read.

    Experts that `previous` holds from the same objects are taken over without reading them. Raises WrongBase,
    MissingObject, CorruptObject, or RoutingError for an expert that does not fit the base or is not finite.
    """
    if manifest.base != spec.digest:
        raise WrongBase(f"this index version grows on base {manifest.base}, not on {spec.digest}")
    known = {} if previous is None else {key: place for place, key in enumerate(previous.keys)}
    kept: dict[int, int] = {}
    read: dict[int, Updates] = {}
    for place, entry in enumerate(manifest.experts):
        if _key(entry) in known:
            kept[place] = known[_key(entry)]
        else:
            read[place] = _read(store, entry, spec, device, dtype)
        progress(place + 1, len(manifest.experts), entry.adapter)
    names = tuple(entry.adapter for entry in manifest.experts)
    keys = tuple(_key(entry) for entry in manifest.experts)
    same_text = previous is not None and previous.neutral == manifest.calibration
    usual = _usual(previous, keys) if previous is not None and same_text else None
    learnt = manifest.classifier
    return Pack(
        names,
        pack_updates(list(read.values())) if previous is None else repacked(previous, kept, read),
        keys,
        manifest.calibration if same_text else None,
        usual=usual,
        profiles=tuple(_profile(store, entry) for entry in manifest.experts),
        classifier=None if learnt is None else store.read_classifier(learnt),
    )


def join_guests(
    store: IndexStore,
    pack: Pack,
    guests: Sequence[ExpertEntry],
    spec: BaseSpec,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Pack:
    """The pack with these experts beside its own, each in the place of another release of the same adapter.

    Only the guests are read. The version's classifier stays: it does not know them, and what it makes of
    experts that it does not know is said in `routing.priors`. Errors as `load_pack`, but for WrongBase.
    """
    invited = {entry.adapter: entry for entry in guests}
    names = tuple(sorted({*pack.experts, *invited}))
    own = {name: pack.places[name] for name in names if name not in invited}
    kept = {place: own[name] for place, name in enumerate(names) if name in own}
    read = {
        place: _read(store, invited[name], spec, device, dtype)
        for place, name in enumerate(names)
        if name in invited
    }
    keys = tuple(pack.keys[own[name]] if name in own else _key(invited[name]) for name in names)
    given = pack.profiles or (None,) * len(pack.experts)
    return replace(
        pack,
        experts=names,
        modules=repacked(pack, kept, read),
        keys=keys,
        usual=_usual(pack, keys),
        profiles=tuple(given[own[name]] if name in own else _profile(store, invited[name]) for name in names),
    )


def chosen_entries(manifest: IndexManifest, experts: Sequence[str] | None) -> tuple[ExpertEntry, ...]:
    """The entries of these experts (None: all) in the manifest's order; RoutingError if unknown or none."""
    if experts is None:
        return manifest.experts
    unknown = sorted(set(experts) - {entry.adapter for entry in manifest.experts})
    if unknown or not experts:
        found = ", ".join(unknown) or "none"
        raise RoutingError(f"experts: found {found}, expected members of this index version")
    return tuple(entry for entry in manifest.experts if entry.adapter in experts)


def _profile(store: IndexStore, entry: ExpertEntry) -> Profile | None:
    return None if entry.profile is None else store.read_profile(entry.profile)


def _read(
    store: IndexStore, entry: ExpertEntry, spec: BaseSpec, device: torch.device, dtype: torch.dtype
) -> Updates:
    vectors, factors = store.read_vectors(entry), store.read_factors(entry)
    if vectors.keys() != factors.keys():
        raise BadManifest(f"{entry.adapter}: its vectors and its factors are about different modules")
    return _updates(entry.adapter, vectors, factors, spec, device=device, dtype=dtype)


def _updates(
    expert: str,
    vectors: Mapping[str, RoutingVector],
    factors: Mapping[str, Factors],
    spec: BaseSpec,
    *,
    device: torch.device,
    dtype: torch.dtype,
) -> Updates:
    """One expert's updates as they lie in a pack, in the base's order of modules."""
    updates = {}
    for name, module in factors.items():
        _require_fit(expert, name, module, spec)
        prototype, gate = vectors[name].prototype, vectors[name].gate
        tensors = [prototype, module.a, module.b] + ([] if gate is None else [gate])
        scaled = _scaled(module, device, dtype)
        if scaled is not None:
            tensors += [scaled.directions, *scaled.scales.parts()]
        if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors):
            raise RoutingError(f"{expert}, {name}: found NaN or infinity in its factors, prototype or gate")
        updates[name] = Update(
            prototype.to(device, torch.float32),
            module.a.to(device, dtype),
            module.b.T.to(device, dtype),
            None if gate is None else standardised(gate.float()).to(device),
            scaled=scaled,
        )
    return updates


def _scaled(module: Factors, device: torch.device, dtype: torch.dtype) -> ScaledPart | None:
    """What an update does through the base's weight, and the directions that it is scored by."""
    if module.scales is None:
        return None
    nearest = module.leading
    return ScaledPart(
        module.scales.to(device, dtype), nearest.a.to(device, dtype), nearest.sigma.to(device, torch.float32)
    )


def _require_fit(expert: str, name: str, factors: Factors, spec: BaseSpec) -> None:
    if name not in spec:
        raise RoutingError(f"{expert}: {name} is not a target module of {spec.name}")
    target = spec.module(name)
    found, expected = (factors.a.shape[1], factors.b.shape[0]), (target.d_in, target.d_out)
    if found != expected:
        raise RoutingError(f"{expert}, {name}: found widths {found}, expected {expected}")
    if factors.scales is not None and not factors.scales.fit(*expected):
        raise RoutingError(f"{expert}, {name}: found scales of other widths, expected {expected}")


def _key(entry: ExpertEntry) -> str:
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
