"""The libraries that are served: each follows its `current` in the store and keeps answering meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from routing.errors import BadManifest, RoutingError, UnknownVersion
from routing.residence import MEGABYTE, Residence
from routing.resident import Shelf, Warm
from routing.routed import RoutedModel
from routing.store import Current, IndexStore, LibraryRef
from workers.serving import heap
from workers.serving.book import Page
from workers.serving.giving_way import give_way
from workers.serving.joined import Joined
from workers.serving.metrics import Metrics
from workers.serving.options import Options
from workers.serving.pinned import Pinned
from workers.serving.retiring import Retiring
from workers.serving.telemetry import Assembly
from workers.serving.versions import Version, assemble, decode_by_graphs, load_model

log = logging.getLogger(__name__)
Tell = Callable[[Assembly], None]
MOST_SAID = 5  # experts that cannot be read, of each library


class NoLibraries(RoutingError):
    """A store that held libraries and is empty now: a folder that is not mounted looks like that."""


@dataclass(frozen=True)
class Problem:
    """Why something is not served, and what it is; tried again at `retry_at`, or when it changes."""

    target: LibraryRef | Current | None  # None: the documents that should name one
    reason: str
    retry_at: float


class Library:
    """One library as it is served. Only the watcher follows; anybody may read `live` or ask for a version."""

    def __init__(
        self,
        name: str,
        store: IndexStore,
        options: Options,
        metrics: Metrics,
        tell: Tell,
        retiring: Retiring,
        shelf: Shelf | None = None,
    ) -> None:
        self.name = name
        self.model: RoutedModel | None = None
        self.live: Version | None = None
        self.problem: Problem | None = None
        self.hub_key: bytes | None = None  # by which passes are believed, as it was at the last look
        self._store = store
        self._options = options
        self._metrics = metrics
        self._tell = tell
        self._retiring = retiring
        self._shelf = shelf
        self._ref: LibraryRef | None = None
        self._pinned = Pinned(options.limits)

    @property
    def held(self) -> list[int]:
        """The numbers of the versions in memory."""
        return sorted({version.number for version in self._in_memory})

    @property
    def held_manifests(self) -> list[tuple[str, str]]:
        """The versions in memory by what they are made of."""
        return [(self.name, version.manifest) for version in self._in_memory]

    @property
    def _in_memory(self) -> list[Version]:
        live = self.live
        return [*self._pinned.held, *([] if live is None else [live])]

    def guest_key(self) -> bytes | None:
        """By which key lists of private experts are believed now; BadManifest if the store cannot say."""
        return self._store.guest_key(self.name)

    def follow(self, bases: dict[str, RoutedModel]) -> None:
        """Bring what is served in line with the store; if that fails nothing changes but `problem`."""
        try:
            ref, current = self._store.library_ref(self.name), self._store.current(self.name)
            if self._options.callers == "passes":
                self.hub_key = self.guest_key()
        except BadManifest as error:
            self._refuse(None, error)
            return
        if ref is None:
            return
        if ref != self._ref and self._may_try(ref):
            self._attempt(ref, lambda: self._take_base(ref, bases))
        if self._ref == ref and current is not None and not self._serves(current) and self._may_try(current):
            self._attempt(current, lambda: self._swap(current))
        elif self._ref == ref and (current is None or self._serves(current)):
            self.problem = None
        self._metrics.degraded.labels(self.name).set(0 if self.trouble is None else 1)

    @property
    def trouble(self) -> str | None:
        """Why a library is not served as it should be: its version, or experts of it that cannot be read."""
        live = self.live
        damaged = {} if live is None or live.resident is None else dict(live.resident.damaged)
        reasons = [] if self.problem is None else [self.problem.reason]
        reasons += [f"expert {name}: {reason}" for name, reason in sorted(damaged.items())[:MOST_SAID]]
        return "; ".join(reasons) or None

    def version(self, number: int) -> Version:
        """The version of this number, loaded if it is published and not in memory.

        Errors as `assemble`, and ApiError if many wait for other versions already.
        """
        live = self.live
        if live is not None and live.number == number:
            return live
        return self._pinned.version(number, self._read)

    def publishes(self, number: int) -> bool:
        """Whether the store has a version of this number on the base that is served; nothing is loaded."""
        try:
            manifest = self._store.version_digest(self.name, number)
            return self._ref is not None and self._store.base_of(manifest) == self._ref.base
        except RoutingError:
            return False

    def _read(self, number: int) -> Version:
        return self._assemble(Current(number, self._store.version_digest(self.name, number)))

    def _serves(self, current: Current) -> bool:
        live = self.live
        return live is not None and (live.number, live.manifest) == (current.number, current.manifest)

    def _may_try(self, target: LibraryRef | Current) -> bool:
        problem = self.problem
        return problem is None or problem.target != target or time.monotonic() >= problem.retry_at

    def _attempt(self, target: LibraryRef | Current, action: Callable[[], None]) -> None:
        try:
            action()
            self.problem = None
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a candidate, what is served stays
            self._refuse(target, error)

    def _refuse(self, target: LibraryRef | Current | None, error: Exception) -> None:
        reason = _reason(error)
        if self.problem is None or self.problem.reason != reason:
            log.error("library %s: cannot serve %s: %s", self.name, target or "its documents", reason)
            self._metrics.refused.labels(self.name).inc()
        self.problem = Problem(target, reason, time.monotonic() + self._options.retry_seconds)
        self._metrics.degraded.labels(self.name).set(1)

    def _take_base(self, ref: LibraryRef, bases: dict[str, RoutedModel]) -> None:
        model = bases.get(ref.base) or load_model(self._store, ref, self._options)
        bases[ref.base] = model
        if model is not self.model:
            self.live = None
            self.model = model
            self._pinned.forget()
        self._ref = ref
        log.info("library %s: base %s is loaded", self.name, model.base.spec.name)

    def _swap(self, current: Current) -> None:
        """Assemble beside the live version, then switch by one assignment."""
        started, at = time.monotonic(), time.time()
        told = Assembly(self.name, current.number, at)
        try:
            version = self._pinned.find(current.number) or self._assemble(current)
        except Exception as error:
            self._tell(replace(told, seconds=time.monotonic() - started, error=_reason(error)))
            raise
        if self._options.graphs:
            replays = self._metrics.replays.labels(self.name)
            decode_by_graphs(version, most=self._options.limits.running, told=replays.inc)
        if self.live is None and self._options.alone:
            heap.settle()  # the base and what was compiled for it; nobody is answered by it yet
        self.live = version
        taken = time.monotonic() - started
        self._tell(replace(told, seconds=taken, experts=len(version.pack.experts)))
        self._metrics.load_seconds.observe(taken)
        self._metrics.swap_seconds.labels(self.name).observe(taken)
        self._metrics.speakers.forget(self.name, version.pack.experts)
        self._metrics.swaps.labels(self.name).inc()
        self._metrics.version.labels(self.name).set(version.number)
        self._metrics.experts.labels(self.name).set(len(version.pack.experts))
        log.info(
            "library %s: version %d with %d experts", self.name, version.number, len(version.pack.experts)
        )

    def _assemble(self, current: Current) -> Version:
        if self.model is None:
            raise UnknownVersion(f"{self.name}: its base is not loaded")
        version = assemble(
            self._store,
            self.model,
            library=self.name,
            number=current.number,
            manifest_digest=current.manifest,
            previous=self.live,
            shelf=self._shelf,
        )
        self._retiring.after_use(version.pack)
        book, page = self._metrics.book, Page(self.name, current.number, current.manifest)
        return version if book is None else replace(version, uses=book.uses(page, version.pack))


class Libraries:
    """All libraries of a store, watched by one thread: there is one loader, and the latest version wins."""

    def __init__(self, store: IndexStore, options: Options, metrics: Metrics, tell: Tell) -> None:
        """`tell` hears of every new index version that was tried, on the watcher's thread."""
        self._store = store
        self._options = options
        self._metrics = metrics
        self._tell = tell
        self._served: Mapping[str, Library] = {}
        self._bases: dict[str, RoutedModel] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self.shelf = _shelf(options, metrics)
        self._retiring = Retiring()
        self.joined = Joined(store, options, metrics, self._retiring)
        self.unreachable: str | None = None
        self.looked = False

    def __getitem__(self, name: str) -> Library:
        return self._served[name]

    @property
    def served(self) -> Mapping[str, Library]:
        """The libraries by name."""
        return MappingProxyType(self._served)

    @property
    def hub_keys(self) -> Mapping[str, bytes]:
        """By library: whose passes are believed. A library whose hub has said no key is not there."""
        return {
            name: library.hub_key for name, library in self._served.items() if library.hub_key is not None
        }

    def start(self) -> None:
        """Watch the store until `stop`."""
        self._retiring.start()
        self._thread.start()

    def stop(self) -> None:
        """End the watching."""
        self._stop.set()
        self._thread.join()
        self._retiring.stop()

    def look(self) -> None:
        """Look at the store once and follow it."""
        names = self._names()
        known = self._served
        if known and not names:
            raise NoLibraries("it lists no library any more; what was served stays")
        self._served = {name: known.get(name) or self._library(name) for name in names}
        for library in self._served.values():
            if self._stop.is_set():
                return
            library.follow(self._bases)
        in_use = {id(library.model) for library in self._served.values()}
        self._bases = {digest: model for digest, model in self._bases.items() if id(model) in in_use}
        self.joined.tidy({key for library in self._served.values() for key in library.held_manifests})
        self.looked = True

    def _library(self, name: str) -> Library:
        return Library(
            name, self._store, self._options, self._metrics, self._tell, self._retiring, shelf=self.shelf
        )

    def _names(self) -> list[str]:
        names = self._store.libraries()
        wanted = self._options.library
        return names if wanted is None else [name for name in names if name == wanted]

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self.unreachable = None
                if any(one.live for one in self._served.values()):
                    give_way()  # to whoever is answered by it, when the next version comes
            except Exception as error:  # noqa: BLE001 - a store that cannot be reached now may be at the next look
                reason = _reason(error)
                if reason != self.unreachable:
                    log.error("the index store cannot be read: %s", reason)  # noqa: TRY400
                self.unreachable = reason
            self._stop.wait(self._options.poll_seconds)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _shelf(options: Options, metrics: Metrics) -> Shelf | None:
    """Where experts' factors are kept, if not all of them are in memory."""
    limits = options.limits
    if limits.expert_megabytes is None:
        return None
    near = Residence(limits.expert_megabytes * MEGABYTE, patience=limits.expert_patience, witness=metrics)
    return Shelf(near, Warm(limits.warm_megabytes * MEGABYTE))
