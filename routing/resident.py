"""Resident packs: index versions of which only the experts that are heard have their factors in memory.

Routing vectors, and all that priors need, are there for every expert: a bare pack, or an excerpt of it whose
other vectors come with the factors. The factors of a short list are brought in when it is to be heard, from
the nearest of three places: where they are computed with (a `Residence`), the host's memory beside an
accelerator (`Warm`), and the store's files, which are mapped and compared with their digests. An expert alone
is heard where it lies; experts that are heard together are laid under each other once more, as kernels read
them.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from routing.calibration import with_moments
from routing.errors import BadManifest, ExpertUnavailable, RoutingError
from routing.halves import Halves
from routing.index import ExpertEntry
from routing.pack import ModulePack, Moments, Pack, Update, only, pack_placed, updates_of
from routing.packing import read_halves
from routing.residence import Residence, Stay, Wanted
from routing.routed import RoutedModel
from routing.spread import device_at
from routing.store import IndexStore
from routing.turns import ANYBODY, Asker

log = logging.getLogger(__name__)
HOST = torch.device("cpu")
Factors = Mapping[str, Halves]
Source = Literal["host", "disk"]
Key = tuple[str, ...]  # an expert's: the digests of its base and of what is read of it, which fits no other


class Warm:
    """Experts in the host's memory, of so many bytes, the least recently used put out first. Thread-safe.

    An expert is used when it comes from here or the disk, and again when it leaves the nearest memory: what
    was heard all the time is then as warm as can be.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Key, tuple[Factors, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: Key) -> Factors | None:
        """The factors of this expert, if they are here."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def left(self, key: Key, size: int, factors: Factors) -> None:
        """Keep what has left the nearest memory: copied from there only if the host has it no more."""
        if size <= self._limit and self.get(key) is None:
            self.put(key, {name: half.on(HOST) for name, half in factors.items()}, size)

    def put(self, key: Key, factors: Factors, size: int) -> None:
        """Keep these, unless they are larger than everything that may be kept."""
        with self._lock:
            if key in self._kept or size > self._limit:
                return
            self._kept[key] = (factors, size)
            self._size += size
            while self._size > self._limit:
                self._size -= self._kept.popitem(last=False)[1][1]


@dataclass(frozen=True)
class Shelf:
    """Where a process keeps the factors of its libraries' experts, nearest first.

    `proven` are the digests of bases and of the factors that are known to be sound on them. `told` hears, by
    owner, where one was found that was asked for and not near.
    """

    near: Residence
    warm: Warm = field(default_factory=lambda: Warm(0))
    proven: set[tuple[str, str]] = field(default_factory=set)
    told: Callable[[str, Source], None] = lambda _owner, _source: None
    always: int | None = None

    @property
    def steady(self) -> int:
        """Bytes that those who are heard together always have, whatever is set aside for vectors."""
        return self.near.whole // 2 if self.always is None else self.always


class ResidentPack:
    """One index version of one owner (a library) on a shelf. Safe to use from threads.

    `prove` is shown a pack of each expert alone when it is first read, and raises if it must not be heard.
    """

    def __init__(
        self,
        shelf: Shelf,
        owner: str,
        store: IndexStore,
        model: RoutedModel,
        pack: Pack,
        entries: Sequence[ExpertEntry],
        *,
        prove: Callable[[Pack], None] = lambda _pack: None,
    ) -> None:
        """`pack` is bare, of these entries, the last of a name.

        RoutingError if one of them is larger than the shelf.
        """
        known = {entry.adapter: entry for entry in entries}
        self.pack = pack
        self.shelf = shelf
        self.entries = tuple(known[name] for name in pack.experts)
        self.damaged: dict[str, str] = {}
        self._owner = owner
        self._store = store
        self._model = model
        self._prove = prove
        self._base = model.base.spec.digest
        stored, here = torch.float32.itemsize, model.base.dtype.itemsize
        factors = [entry.factors_size * here // stored for entry in self.entries]
        self._laid_sizes = [
            size + entry.vectors_size for size, entry in zip(factors, self.entries, strict=True)
        ]
        self._sizes = factors if pack.excerpt is None else self._laid_sizes
        self._moments: dict[int, _Measured] = {}
        self._name = object()  # of this version among the others on the shelf
        self._require_room_for_each()

    @property
    def limit(self) -> int:
        """Bytes that may be in memory at once, for all owners."""
        return self.shelf.near.limit

    def key(self, place: int) -> Key:
        """What the expert at this place is known by on the shelf."""
        entry = self.entries[place]
        if self.pack.excerpt is None:
            return self._base, entry.factors
        return self._base, entry.factors, entry.vectors

    def need(self, *lists: Collection[int]) -> int:
        """Bytes that are taken while these lists are brought in, each of experts that are heard together.

        An expert that several lists share is counted once, as it is kept.
        """
        alone = {self.key(place): self._sizes[place] for places in lists for place in places}
        return sum(alone.values()) + sum(self._joined(places) for places in {frozenset(one) for one in lists})

    def _joined(self, places: Collection[int]) -> int:
        """Bytes of what several experts are laid into once more, side by side."""
        if len(places) == 1:
            return 0
        return sum(self._laid_sizes[place] for place in places)

    def worth(
        self, places: Sequence[int], size: int, *, most: int, beside: frozenset[int] = frozenset()
    ) -> list[int]:
        """The first of these, as many as `size` bytes hold together with those beside them.

        At most so many, and at least one.
        """
        count = 1
        while count < min(most, len(places)) and self.need({*places[: count + 1], *beside}) <= size:
            count += 1
        return list(places[:count])

    def packs(self, lists: Sequence[frozenset[int]], asker: Asker = ANYBODY) -> tuple[list[Pack], Stay]:
        """For each list of places the pack with the factors of these experts alone, and what keeps them.

        ExpertUnavailable if one of them cannot be read, TooLarge if they can never be in memory together,
        NoRoom if others hold too much for too long, Left if the asker does not wait for that.
        """
        values, stay = self.shelf.near.hold(self._owner, [self._wanted(places) for places in lists], asker)
        packs = []
        for places, value in zip(lists, values, strict=True):
            modules = self._laid(sorted(places), value) if len(places) == 1 else value
            packs.append(self._heard(modules))
        return packs, stay

    def _heard(self, modules: Mapping[str, ModulePack]) -> Pack:
        """The pack with these modules, which lack nothing."""
        return replace(self.pack, modules=modules, excerpt=None)

    def measured(self, pack: Pack) -> Pack:
        """One of `packs` with its experts' moments of those kinds of score that need what was read for it.

        They are measured when they are first asked for, and remembered for as long as this version is.
        """
        assert self.pack.text is not None
        assert self.pack.neutral is not None
        members = {place for module in pack.modules.values() for place in module.members}
        unknown = members - self._moments.keys()
        if unknown:
            strangers = replace(pack, modules=only(pack, unknown))
            found = with_moments(self._model, strangers, self.pack.text, neutral=self.pack.neutral)
            device = self._model.base.device
            self._moments |= {place: _measured(updates_of(found, place), device) for place in unknown}
        return replace(
            pack, modules={name: self._told(name, module) for name, module in pack.modules.items()}
        )

    def _told(self, name: str, module: ModulePack) -> ModulePack:
        """The module with what is known of its members."""
        known = [self._moments[place] for place in module.members]
        moments = {}
        for kind in known[0].kinds:
            both = torch.stack([one.kinds[kind][:, one.columns[name]] for one in known], dim=1)
            moments[kind] = Moments(*both.to(module.device))
        return replace(module, moments=moments)

    def _wanted(self, places: frozenset[int]) -> Wanted:
        ordered = sorted(places)
        members = tuple(self._member(place) for place in ordered)
        if len(members) == 1:
            return members[0]
        return Wanted((self._name, places), self._joined(places), partial(self._laid, ordered), members)

    def _member(self, place: int) -> Wanted:
        """An expert by the digest of its factors, so that another version finds the same one."""
        key = (self._owner, *self.key(place))
        # what is told when it leaves must not hold this version, which may be gone by then
        left = partial(self.shelf.warm.left, self.key(place), self._sizes[place])
        return Wanted(key, self._sizes[place], partial(self._read, place), left=left)

    def _laid(self, places: Sequence[int], *factors: Factors) -> dict[str, ModulePack]:
        """The modules of these experts alone, each at its place."""
        return pack_placed(
            {place: self._dressed(place, mine) for place, mine in zip(places, factors, strict=True)}
        )

    def _dressed(self, place: int, factors: Factors) -> dict[str, Update]:
        bare = updates_of(self.pack, place)
        if bare.keys() != factors.keys():
            name = self.pack.experts[place]
            raise BadManifest(f"{name}: its vectors and its factors are about different modules")
        return {name: _dressed(update, factors[name]) for name, update in bare.items()}

    def _read(self, place: int) -> Factors:
        """An expert's factors where they are computed with; ExpertUnavailable says why not."""
        entry, base = self.entries[place], self._model.base
        try:
            factors = self._found(place)
            factors = {name: half.on(device_at(base.devices, name)) for name, half in factors.items()}
            self._require_proven(place, factors)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            if self.damaged.get(entry.adapter) != reason:
                log.exception("%s: the factors of %s cannot be used", self._owner, entry.adapter)
            self.damaged[entry.adapter] = reason
            raise ExpertUnavailable(entry.adapter, reason) from error
        self.damaged.pop(entry.adapter, None)
        return factors

    def _found(self, place: int) -> Factors:
        """An expert's factors in the host's memory."""
        entry, base, key = self.entries[place], self._model.base, self.key(place)
        factors = self.shelf.warm.get(key)
        source: Source = "disk" if factors is None else "host"
        if factors is None:
            recognised = self.pack.excerpt is not None
            factors = read_halves(self._store, entry, base.spec, dtype=base.dtype, recognised=recognised)
            self.shelf.warm.put(key, factors, self._sizes[place])
        self.shelf.told(self._owner, source)
        return factors

    def _require_proven(self, place: int, factors: Factors) -> None:
        """What is known of a version before it is served is known of an expert before it is heard."""
        key = self._base, self.entries[place].factors
        if key in self.shelf.proven:
            return
        self._prove(self._heard(self._laid([place], factors)))
        self.shelf.proven.add(key)

    def _require_room_for_each(self) -> None:
        largest = max(range(len(self._sizes)), key=self._sizes.__getitem__, default=None)
        if largest is not None and self._sizes[largest] > self.limit:
            found = f"{self.pack.experts[largest]} of {self._sizes[largest]} bytes"
            raise RoutingError(f"experts: found {found}, and the memory for experts holds {self.limit}")


class _Measured(NamedTuple):
    """An expert's moments: of each kind at all modules side by side, in their columns.

    As tensors of their own they would take a thousand times as much.
    """

    columns: Mapping[str, int]
    kinds: Mapping[str, Float[Tensor, "2 modules"]]


def _measured(updates: Mapping[str, Update], device: torch.device) -> _Measured:
    columns = _columns(frozenset(updates))
    kinds = sorted({kind for update in updates.values() for kind in update.moments})
    each = {kind: [torch.stack(updates[name].moments[kind]).to(device) for name in columns] for kind in kinds}
    return _Measured(columns, {kind: torch.stack(found, dim=1) for kind, found in each.items()})


@lru_cache(maxsize=1024)
def _columns(modules: frozenset[str]) -> Mapping[str, int]:
    """One mapping for all experts that change the same modules."""
    return {name: column for column, name in enumerate(sorted(modules))}


def _dressed(bare: Update, halves: Halves) -> Update:
    """A bare update with what was read for it."""
    known = halves.recognised
    if known is not None:
        bare = replace(bare, prototype=known.prototype, gate=known.gate)
    return replace(bare, a=halves.a, b=halves.b, scaled=halves.scaled)
