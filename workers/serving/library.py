"""One library as it is served: it follows its `current` in the store and keeps answering meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from routing.errors import BadManifest, RoutingError, UnknownVersion
from routing.resident import Shelf
from routing.routed import RoutedModel
from routing.store import Current, IndexStore, LibraryRef
from workers.serving import heap
from workers.serving.book import Page
from workers.serving.canary import Proven
from workers.serving.metrics import Metrics
from workers.serving.options import Options
from workers.serving.pinned import Pinned
from workers.serving.retiring import Retiring
from workers.serving.telemetry import Assembly
from workers.serving.versions import Version, assemble, decode_by_graphs, load_model

log = logging.getLogger(__name__)
Tell = Callable[[Assembly], None]
MOST_SAID = 5  # experts that cannot be read, of each library


@dataclass(frozen=True)
class Household:
    """What the libraries of a process have in common. `tell` hears of every version that was tried."""

    store: IndexStore
    options: Options
    metrics: Metrics
    tell: Tell
    retiring: Retiring
    shelf: Shelf | None = None
    proven: Proven = field(default_factory=set)


@dataclass(frozen=True)
class Problem:
    """Why something is not served, and what it is; tried again at `retry_at`, or when it changes."""

    target: LibraryRef | Current | None  # None: the documents that should name one
    reason: str
    retry_at: float


class Library:
    """One library as it is served. Only the watcher follows; anybody may read `live` or ask for a version."""

    def __init__(self, name: str, household: Household) -> None:
        self.name = name
        self.model: RoutedModel | None = None
        self.live: Version | None = None
        self.problem: Problem | None = None
        self.hub_key: bytes | None = None  # by which passes are believed, as it was at the last look
        self._household = household
        self._store = household.store
        self._options = household.options
        self._metrics = household.metrics
        self._ref: LibraryRef | None = None
        self._pinned = Pinned(household.options.limits)

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
        damaged = {} if live is None else dict(live.unheard)
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
        reason = reason_of(error)
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
            self._household.tell(replace(told, seconds=time.monotonic() - started, error=reason_of(error)))
            raise
        if self._options.graphs:
            replays = self._metrics.replays.labels(self.name)
            decode_by_graphs(version, most=self._options.limits.running, told=replays.inc)
        if self.live is None and self._options.alone:
            heap.settle()  # the base and what was compiled for it; nobody is answered by it yet
        self.live = version
        taken = time.monotonic() - started
        self._household.tell(replace(told, seconds=taken, experts=len(version.pack.experts)))
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
            current=current,
            previous=self.live,
            shelf=self._household.shelf,
            proven=self._household.proven,
        )
        self._household.retiring.after_use(version.pack)
        book, page = self._metrics.book, Page(self.name, current.number, current.manifest)
        return version if book is None else replace(version, uses=book.uses(page, version.pack))


def reason_of(error: Exception) -> str:
    """An error in words."""
    return f"{type(error).__name__}: {error}"
