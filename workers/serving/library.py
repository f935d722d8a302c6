"""One library as it is served: it follows its `current` in the store and keeps answering meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from routing.errors import RoutingError, UnknownVersion, VersionHeldBack, WrongBase
from routing.held_back import HeldBack, of_version
from routing.resident import Shelf
from routing.routed import RoutedModel
from routing.store import Current, IndexStore, LibraryRef
from routing.turns import ANYBODY, Asker
from workers.serving import heap
from workers.serving.answer_memory import AnswerMemory
from workers.serving.base_loading import load_model
from workers.serving.book import Page
from workers.serving.canary import Proven
from workers.serving.joined import Joined
from workers.serving.metrics import Metrics
from workers.serving.options import Options
from workers.serving.pinned import Pinned
from workers.serving.problems import Problem, Wish, problem_of, reason_of
from workers.serving.promises import NotEnoughMemory, nothing
from workers.serving.retiring import Retiring
from workers.serving.room import Room
from workers.serving.telemetry import Assembly
from workers.serving.vector_room import vectors_in_words
from workers.serving.versions import Version, assemble, decode_by_graphs

log = logging.getLogger(__name__)
Loaded = TypeVar("Loaded")
Tell = Callable[[Assembly], None]
REFUSED = "cannot be served as the store says"
UNREAD = "what the store says of it cannot be read"
MOST_SAID = 5  # experts that cannot be read, of each library


@dataclass(frozen=True)
class Household:
    """What the libraries of a process have in common. `tell` hears of every version that was tried."""

    store: IndexStore
    options: Options
    metrics: Metrics
    tell: Tell
    retiring: Retiring
    joined: Joined
    memory: AnswerMemory
    shelf: Shelf | None = None
    proven: Proven = field(default_factory=set)


class Library:
    """One library as it is served. Only the watcher follows; anybody may read `live` or ask for a version."""

    def __init__(self, name: str, household: Household) -> None:
        self.name = name
        self.model: RoutedModel | None = None
        self.live: Version | None = None
        self.unread: str | None = None  # why it is not known what the store says of it now
        self.problem: Problem | None = None
        self.hub_key: bytes | None = None  # by which passes are believed, as it was at the last look
        self._household = household
        self._store = household.store
        self._options = household.options
        self._metrics = household.metrics
        self._ref: LibraryRef | None = None
        self._held_back: tuple[HeldBack, ...] = ()
        self._pinned = Pinned(household.options.limits, household.retiring)

    @property
    def held(self) -> list[int]:
        """The numbers of the versions in memory."""
        return sorted({version.number for version in self._in_memory})

    @property
    def held_manifests(self) -> list[tuple[str, str]]:
        """The versions in memory by what they are made of."""
        return [(self.name, version.manifest) for version in self._in_memory]

    @property
    def vector_bytes(self) -> int:
        """Memory of the routing vectors of the versions held."""
        return sum(version.pack.vector_bytes for version in self._in_memory)

    @property
    def _in_memory(self) -> list[Version]:
        live = self.live
        return [*self._pinned.held, *([] if live is None else [live])]

    def guest_key(self) -> bytes | None:
        """By which key lists of private experts are believed now; BadManifest if the store cannot say."""
        return self._store.guest_key(self.name)

    def follow(self, bases: dict[str, RoutedModel]) -> None:
        """Bring what is served in line with the store; if that fails, only `unread` or `problem` changes."""
        try:
            self._held_back = self._store.held_back(self.name)  # first: it holds whatever else cannot be read
            ref, current = self._store.library_ref(self.name), self._store.current(self.name)
            if self._options.callers == "passes":
                self.hub_key = self.guest_key()
        except Exception as error:  # noqa: BLE001 - what cannot be read now may be at the next look
            self._say_unread(reason_of(error))
            return
        self.unread = None
        if ref is None:
            return
        wish = Wish(ref, current)
        if self._fulfils(wish):
            self.problem = None
        elif self._may_try(wish):
            self._attempt(wish, bases)

    @property
    def obstacle(self) -> str | None:
        """Why it is not served as the store says, or it is not known what the store says."""
        reasons = [self.unread, None if self.problem is None else self.problem.said]
        return "; ".join(reason for reason in reasons if reason is not None) or None

    @property
    def trouble(self) -> str | None:
        """Why a library is not served as it should be: an obstacle, or experts of it that cannot be read.

        Those of versions in memory that requests name are in it, and how many private ones: not who they are.
        """
        live, private = self.live, self._household.joined.of(self.name)
        unheard = {} if live is None else {f"expert {name}": why for name, why in live.unheard.items()}
        for version in [*self._pinned.held, *private]:
            at = "" if live is not None and version.number == live.number else f"version {version.number}: "
            found = {
                f"expert {name}": why for name, why in version.unheard.items() if name not in version.own
            }
            unheard |= {at + name: why for name, why in found.items() if unheard.get(name) != why}
        guests = sum(len(version.unheard.keys() & version.own) for version in private)
        obstacle = self.obstacle
        reasons = [] if obstacle is None else [obstacle]
        reasons += [f"{name}: {why}" for name, why in sorted(unheard.items())[:MOST_SAID]]
        reasons += [f"{guests} private experts cannot be read"] if guests else []
        return "; ".join(reasons) or None

    def version(self, number: int, asker: Asker = ANYBODY) -> Version:
        """The version of this number, loaded if it is published and not in memory.

        Errors as `assemble`, VersionHeldBack for another than the live one that has experts in quarantine,
        ApiError if many wait for other versions already, and Left if the asker leaves before it is read.
        """

        def find(number: int) -> Callable[[], Version]:
            asker.require_here()
            return self._find(number)

        live = self.live
        if live is not None and live.number == number:
            self._pinned.name_live(live)
            return live
        self._require_servable(number)
        return self._pinned.version(number, find)

    def tidy(self) -> None:
        """Let go of versions that nobody asked for lately, and of what is held back."""
        self._pinned.tidy(lambda number: not of_version(self._held_back, number))

    def publishes(self, number: int) -> bool:
        """Whether the store has a version of this number on the base that is served; nothing is loaded."""
        try:
            self._require_servable(number)
            self._find(number)
        except RoutingError:
            return False
        return True

    def _require_servable(self, number: int) -> None:
        experts = of_version(self._held_back, number)
        if experts:
            raise VersionHeldBack(
                f"{self.name} version {number} is not served: it has {', '.join(experts[:MOST_SAID])}, "
                "held back by a maintainer; ask for another version"
            )

    def _find(self, number: int) -> Callable[[], Version]:
        """How to read a version; UnknownVersion or WrongBase if it could never be answered by."""
        live = self.live
        model = self.model if live is None else live.model
        if model is None:
            raise UnknownVersion(f"{self.name}: its base is not loaded")
        current = Current(number, self._store.version_digest(self.name, number))
        base = self._store.base_of(current.manifest)
        if base != model.base.spec.digest:
            raise WrongBase(f"version {number} grows on base {base}, not on {model.base.spec.digest}")
        return partial(self._assemble, current, model, lambda: self._household.memory.unused)

    def _serves(self, current: Current) -> bool:
        live = self.live
        return live is not None and (live.number, live.manifest) == (current.number, current.manifest)

    def _fulfils(self, wish: Wish) -> bool:
        return self._ref == wish.ref and (wish.current is None or self._serves(wish.current))

    def _may_try(self, wish: Wish) -> bool:
        problem = self.problem
        return problem is None or problem.wish != wish or time.monotonic() >= problem.retry_at

    def _attempt(self, wish: Wish, bases: dict[str, RoutedModel]) -> None:
        try:
            self._fulfil(wish, bases)
            self.problem = None
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a candidate, what is served stays
            self._refuse(wish, error)

    def _say_unread(self, reason: str) -> None:
        """Once for each reason, and not at every look."""
        if reason != self.unread:
            log.error("library %s: %s, and what is served stays: %s", self.name, UNREAD, reason)
        self.unread = reason

    def _refuse(self, wish: Wish, error: Exception) -> None:
        """Each version that cannot be served is counted once; the log says it again if the reason is new."""
        before, wanted = self.problem, wish.current
        version = None if wanted is None or self._serves(wanted) else wanted
        found = problem_of(wish, version, error, before, retry_seconds=self._options.retry_seconds)
        self.problem = found
        first = before is None or before.wish != wish
        if first or before is None or before.reason != found.reason:
            log.error("library %s: %s: %s", self.name, REFUSED, found.said)
        if first and version is not None:
            self._metrics.refused.labels(self.name).inc()

    def _fulfil(self, wish: Wish, bases: dict[str, RoutedModel]) -> None:
        """Take the base and then the version; who is answered on another base is so until both are there."""
        ref, current = wish.ref, wish.current
        model = self.model
        if ref != self._ref:
            here = model is not None and model.base.spec.digest == ref.base
            if self.live is not None and not here:
                self._require_version_on(ref, current)
            model = bases[ref.base] = bases.get(ref.base) or self._first_of_all(
                lambda: load_model(self._store, ref, self._options)
            )
            self._household.memory.take_up(model)
            if self.live is None or here:
                self._stand_on(ref, model)
        if current is not None and model is not None and not self._serves(current):
            self._swap(current, ref, model)

    def _require_version_on(self, ref: LibraryRef, current: Current | None) -> None:
        """WrongBase where there is nothing to go to on a new base, which then need not be loaded."""
        if current is None or self._store.base_of(current.manifest) != ref.base:
            raise WrongBase(
                f"the library's base is {ref.base} now, and its current version grows on another one; "
                "what is served stays until a version on the new base is current"
            )

    def _stand_on(self, ref: LibraryRef, model: RoutedModel) -> None:
        if model is not self.model:
            self.model = model
            self._pinned.forget()
            log.info("library %s: base %s is loaded", self.name, model.base.spec.name)
        self._ref = ref

    def _swap(self, current: Current, ref: LibraryRef, model: RoutedModel) -> None:
        """Assemble beside the live version, then switch by one assignment, to another base with it."""
        started, at = time.monotonic(), time.time()
        told = Assembly(self.name, current.number, at)
        try:
            version = self._pinned.taken(current, model) or self._first_of_all(
                lambda: self._assemble(current, model)
            )
        except Exception as error:
            self._household.tell(replace(told, seconds=time.monotonic() - started, error=reason_of(error)))
            raise
        if self._options.graphs:
            replays = self._metrics.replays.labels(self.name)
            decode_by_graphs(version, most=self._options.limits.running, told=replays.inc)
        if self.live is None and self._options.alone:
            heap.settle()  # the base and what was compiled for it; nobody is answered by it yet
        before, self.live = self.live, version
        if before is not None and before.number != version.number:
            self._pinned.retire(before)
        self._stand_on(ref, model)
        taken = time.monotonic() - started
        self._household.tell(replace(told, seconds=taken, experts=len(version.pack.experts)))
        self._metrics.load_seconds.observe(taken)
        self._metrics.swap_seconds.labels(self.name).observe(taken)
        self._metrics.speakers.forget(self.name, version.pack.experts)
        self._metrics.swaps.labels(self.name).inc()
        log.info(
            "library %s: version %d with %d experts, %s",
            self.name,
            version.number,
            len(version.pack.experts),
            vectors_in_words(version.pack),
        )

    def _first_of_all(self, load: Callable[[], Loaded]) -> Loaded:
        """A new live version, or its base. Where memory lacks, named versions that answer nobody make room.

        After them those with private experts do; in either case the longest unused first.
        """
        while True:
            try:
                return load()
            except NotEnoughMemory:
                if not (self._pinned.let_go() or self._household.joined.let_go()):
                    raise

    def _assemble(self, current: Current, model: RoutedModel, kept: Callable[[], int] = nothing) -> Version:
        """A version; the live one may take what answers might have, which lowers their limit."""
        live, household = self.live, self._household
        version = assemble(
            self._store,
            model,
            library=self.name,
            current=current,
            previous=live if live is not None and live.model is model else None,
            room=Room(household.shelf, kept),
            proven=household.proven,
        )
        household.retiring.after_use(version.pack)
        book, page = self._metrics.book, Page(self.name, current.number, current.manifest)
        return version if book is None else replace(version, uses=book.uses(page, version.pack))
