"""Index versions assembled and proven before anybody is answered by them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from routing.base import Base
from routing.calibration import calibrated_pack
from routing.capturing import decoder_for, on_gpu
from routing.encoding import Encoder, pinned_encoder
from routing.errors import CorruptObject, ExpertUnavailable, MissingObject
from routing.fixed_routes import everywhere, slots_of
from routing.index import ExpertEntry, IndexManifest, RoutingPolicy, objects_of
from routing.pack import Pack
from routing.packing import join_guests, load_bare, load_pack
from routing.queries import QueryRouter
from routing.residence import Residence, megabytes
from routing.resident import ResidentPack, Shelf
from routing.routed import RoutedModel
from routing.routes import routing_of, within_reach
from routing.store import Current, IndexStore
from routing.uses import Uses
from workers.serving.canary import Proven, canary, prove_alone, prove_experts, prove_policy
from workers.serving.guests import Guests
from workers.serving.promises import Promise, nothing
from workers.serving.room import UNBOUNDED, Room, factors_size, fresh_and_kept
from workers.serving.vector_room import VectorRoom, room_for_guests, room_for_version

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Version:
    """A version that is ready to answer. Whoever holds it finishes with it, whatever is served meanwhile."""

    library: str
    number: int
    manifest: str
    pack: Pack
    policy: RoutingPolicy
    model: RoutedModel
    encoder: Encoder | None = None
    guests: Guests | None = None
    resident: ResidentPack | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)  # experts that cannot be heard here, and why
    uses: Uses | None = None  # counts whom answers by this version choose, where that is reported to the hub

    @property
    def fingerprint(self) -> str:
        """What answers with the same fingerprint were answered by."""
        own = f"fletch-{self.manifest[:16]}"
        return own if self.guests is None else f"{own}-{self.guests.digest[:16]}"

    @property
    def own(self) -> frozenset[str]:
        """The names of its private experts."""
        return frozenset(() if self.guests is None else self.guests.names)

    @property
    def unheard(self) -> Mapping[str, str]:
        """By name of its experts that cannot be heard here: why not."""
        damaged = {} if self.resident is None else self.resident.damaged
        return {**self.left_out, **damaged}

    @cached_property
    def queries(self) -> QueryRouter:
        """What priors say of prompts."""
        return QueryRouter(self.model, self.pack, self.encoder, resident=self.resident)


def assemble(
    store: IndexStore,
    model: RoutedModel,
    *,
    library: str,
    current: Current,
    previous: Version | None,
    room: Room = UNBOUNDED,
    proven: Proven | None = None,
) -> Version:
    """Read, verify, pack and prove one index version; RoutingError if it must not be served.

    Experts that are `proven` are not heard again. With room on a shelf only vectors are read, as many as it
    has room for, and the factors of experts that `previous` did not have; those that are larger than half of
    it are left out.
    """
    manifest = store.read_manifest(current.manifest)
    base, shelf = model.base, room.shelf
    known = None if previous is None else previous.pack
    vectors = room_for_version(shelf, library, store, manifest.experts, known)
    left_out = _too_large(manifest.experts, base, shelf, vectors)
    if left_out:
        fitting = tuple(entry for entry in manifest.experts if entry.adapter not in left_out)
        manifest = replace(manifest, experts=fitting)
    if known is not None and known.parts != vectors.parts:
        known = None
    with room.for_version(manifest.experts, known, base, vectors) as promise:
        pack = vectors.taken_by(_read(store, manifest, base, known, shelf, vectors, promise))
        if manifest.calibration is not None:
            neutral = store.read_neutral(manifest.calibration)
            pack = calibrated_pack(model, pack, neutral, neutral=manifest.calibration)
        resident = None
        if shelf is not None:
            resident = _resident(shelf, library, store, model, pack, manifest.experts)
        version = Version(
            library,
            current.number,
            current.manifest,
            pack,
            manifest.policy,
            model,
            _encoder(manifest, base, previous),
            resident=resident,
            left_out=left_out,
        )
        new = {place: entry.factors for place, entry in enumerate(manifest.experts)}
        return _sound(store, version, new, previous, set() if proven is None else proven)


def _read(
    store: IndexStore,
    manifest: IndexManifest,
    base: Base,
    known: Pack | None,
    shelf: Shelf | None,
    vectors: VectorRoom,
    promise: Promise,
) -> Pack:
    """As `load_pack` or, with a shelf, `load_bare`; ExpertUnavailable says whose object is damaged."""
    fresh, _ = fresh_and_kept(manifest.experts, known)
    sizes = {
        one.adapter: vectors.of([one]) + (factors_size([one], base) if shelf is None else 0) for one in fresh
    }

    def read(_done: int, _total: int, adapter: str) -> None:
        promise.taken(sizes.get(adapter, 0))

    load = partial(load_pack, dtype=base.dtype) if shelf is None else partial(load_bare, parts=vectors.parts)
    try:
        return load(store, manifest, base.spec, device=base.devices, previous=known, progress=read)
    except (MissingObject, CorruptObject) as error:
        for entry in manifest.experts:
            if error.digest in objects_of(entry):
                raise ExpertUnavailable(entry.adapter, f"{type(error).__name__}: {error}") from error
        raise


def with_guests(
    store: IndexStore,
    version: Version,
    guests: Guests,
    *,
    proven: Proven | None = None,
    kept: Callable[[], int] = nothing,
) -> Version:
    """The version with these experts added, over all that it has: only they are read and measured.

    RoutingError as `assemble`. The policy stays the version's own, and so does the classifier. With a shelf
    private experts are read and proven when they are first heard: none but those who brought them wait.
    """
    known, base = version.pack, version.model.base
    shelf = None if version.resident is None else version.resident.shelf
    together = [] if version.resident is None else _together(version.resident.entries, guests)
    vectors = room_for_guests(shelf, version.library, store, together, known.parts)
    with Room(shelf, kept).for_guests(guests.entries, known, base, vectors):
        pack = join_guests(store, known, guests.entries, base.spec, device=base.devices, dtype=base.dtype)
        pack = vectors.taken_by(pack)
        if known.text is not None and known.neutral is not None:
            pack = calibrated_pack(version.model, pack, known.text, neutral=known.neutral)
        resident = None
        if version.resident is not None and shelf is not None:
            entries = (*version.resident.entries, *guests.entries)
            resident = _resident(shelf, version.library, store, version.model, pack, entries)
        joined = replace(version, pack=pack, guests=guests, resident=resident)
        new = {pack.places[entry.adapter]: entry.factors for entry in guests.entries}
        return _sound(store, joined, new, None, set() if proven is None else proven)


def _together(entries: Sequence[ExpertEntry], guests: Guests) -> list[ExpertEntry]:
    """A version's experts with these guests, each in the place of another release of the same adapter."""
    return [*(one for one in entries if one.adapter not in guests.names), *guests.entries]


def _sound(
    store: IndexStore, version: Version, new: Mapping[int, str], previous: Version | None, proven: Proven
) -> Version:
    """The version with the policy that it can follow, when all of it is proven; RoutingError if not.

    `new` are the digests of factors, by place, of experts that may not be proven yet. Of a version whose
    factors are elsewhere those that `previous` has are not read; without one nobody is, but for the policy:
    then there is nothing better to go on with, and thousands may be there of whom few are ever heard.
    """
    resident, model = version.resident, version.model
    if resident is None:
        version = replace(version, policy=within_reach(version.policy, version.pack))
        prove_experts(model, version.pack, new, proven)
        queries = version.queries
    else:
        aside = _aside(store, version, resident)
        version = replace(version, policy=_within_reach(version.policy, version.pack, aside))
        if previous is not None and previous.resident is not None:
            read = {entry.factors for entry in previous.resident.entries}
            for place in [place for place, factors in new.items() if factors not in read]:
                aside.packs([frozenset({place})])
        queries = QueryRouter(
            model, version.pack, version.encoder, resident=aside, known=version.queries.known
        )
    prove_policy(version.number, model, queries, routing_of(version.policy))
    return version


def _resident(
    shelf: Shelf,
    library: str,
    store: IndexStore,
    model: RoutedModel,
    pack: Pack,
    entries: Sequence[ExpertEntry],
) -> ResidentPack:
    """A bare pack on the shelf, whose experts are proven one by one; of one name the last entry counts."""
    return ResidentPack(shelf, library, store, model, pack, entries, prove=partial(prove_alone, model))


def _aside(store: IndexStore, version: Version, resident: ResidentPack) -> ResidentPack:
    """The same pack in room of its own, for the largest expert beside the general ones.

    There a version is proven whatever answers hold of the shelf, and nobody has to make room for experts of
    whom it is not known that anybody wants them. Who is proven there is proven.
    """
    pack, policy, shelf = version.pack, version.policy, resident.shelf
    if policy.router == "uniform":
        limit = shelf.steady  # the mean of all cannot be tried with some
    else:
        general = frozenset(pack.places[name] for name in policy.general if name in pack.places)
        needs = (resident.need(general | {place}) for place in range(len(pack.experts)))
        limit = min(shelf.steady, max(needs, default=0))
    own = Shelf(Residence(limit), proven=shelf.proven, always=limit)
    return _resident(own, version.library, store, version.model, pack, resident.entries)


def _too_large(
    experts: Sequence[ExpertEntry], base: Base, shelf: Shelf | None, vectors: VectorRoom
) -> dict[str, str]:
    """The experts that a shelf may not hold, and why: they alone are not heard, and stop no version.

    Half of it there always is, however many versions have their vectors in the other.
    """
    if shelf is None:
        return {}
    most = shelf.steady
    sizes = {
        entry.adapter: factors_size([entry], base) + (0 if vectors.parts == 1 else entry.vectors_size)
        for entry in experts
    }
    return {
        name: f"found {megabytes(size)}, expected at most {megabytes(most)}, half of --expert-megabytes"
        for name, size in sizes.items()
        if size > most
    }


def _within_reach(policy: RoutingPolicy, pack: Pack, resident: ResidentPack) -> RoutingPolicy:
    """As `within_reach`; what kind general experts are of, their factors tell."""
    if policy.general:
        places = frozenset(pack.places[name] for name in policy.general if name in pack.places)
        pack = resident.packs([places])[0][0] if places else pack
    return within_reach(policy, pack)


def _encoder(manifest: IndexManifest, base: Base, previous: Version | None) -> Encoder | None:
    """The version's own encoder: that of `previous` if it is the same one."""
    ref = manifest.encoder
    if ref is None:
        return None
    known = None if previous is None else previous.encoder
    return known if known is not None and known.name == ref.name else pinned_encoder(ref, base)


def decode_by_graphs(version: Version, *, most: int, told: Callable[[], None]) -> None:
    """From now on a GPU replays the decoding of up to `most` answers by this version's policy, if it can.

    `told` hears of each replay. The log says where it cannot; on a CPU nothing happens.
    """
    model = version.model
    if not on_gpu(model) or model.graphs.given_up:
        return
    wanted = routing_of(version.policy)
    slots = slots_of(version.pack, wanted)
    way = everywhere(version.pack) if slots else version.queries.route(wanted, canary(model)[0].tolist())
    if model.graphs.holds(way, slots):
        return  # it was served before, and its answers use them
    decoder = decoder_for(model, way, slots=slots, most=most, told=told)
    if decoder is not None:
        model.graphs.keep(way, decoder)
        log.info(
            "%s: version %d is decoded by %d CUDA graphs for up to %d answers%s, which take %d MB",
            version.library,
            version.number,
            len(decoder.graphs),
            decoder.most,
            f" of up to {slots} experts each" if slots else "",
            decoder.size // 2**20,
        )
