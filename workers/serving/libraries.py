"""The libraries that are served, watched by one thread."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from types import MappingProxyType

from routing.engine import Engine
from routing.errors import RoutingError
from routing.residence import MEGABYTE, Residence
from routing.resident import Shelf, Warm
from routing.routed import RoutedModel
from routing.store import IndexStore
from workers.serving.answer_memory import AnswerMemory
from workers.serving.canary import Proven
from workers.serving.giving_way import give_way
from workers.serving.joined import Joined
from workers.serving.library import Household, Library, Tell
from workers.serving.metrics import Metrics
from workers.serving.options import Options
from workers.serving.problems import reason_of
from workers.serving.retiring import Retiring
from workers.serving.versions import Version

log = logging.getLogger(__name__)


class NoLibraries(RoutingError):
    """A store that held libraries and is empty now: a folder that is not mounted looks like that."""


class Libraries:
    """All libraries of a store, watched by one thread: there is one loader, and the latest version wins."""

    def __init__(
        self, store: IndexStore, options: Options, metrics: Metrics, tell: Tell, engine: Engine
    ) -> None:
        """`tell` hears of every new index version that was tried, on the watcher's thread.

        `engine` is told how much memory its answers may take.
        """
        self._options = options
        self._served: Mapping[str, Library] = {}
        self._bases: dict[str, RoutedModel] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self.shelf = _shelf(options, metrics)
        self._retiring = Retiring()
        proven: Proven = set()
        self.memory = AnswerMemory(engine, options.limits, self.shelf)
        self.joined = Joined(store, options, metrics, self._retiring, proven, self.memory)
        self._household = Household(
            store, options, metrics, tell, self._retiring, self.joined, self.memory, self.shelf, proven
        )
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
        """Look at the store once and follow it; what nobody asks for any more goes, whatever can be read."""
        try:
            self._follow()
        finally:
            self._tidy()

    def _follow(self) -> None:
        names = self._names()
        known = self._served
        if known and not names:
            raise NoLibraries("it lists no library any more; what was served stays")
        self._served = {name: known.get(name) or Library(name, self._household) for name in names}
        for library in self._served.values():
            if self._stop.is_set():
                return
            library.follow(self._bases)
            self.memory.look(self._live)
        self.looked = True

    def _tidy(self) -> None:
        for library in self._served.values():
            library.tidy()
        in_use = {id(library.model) for library in self._served.values()}
        self._bases = {digest: model for digest, model in self._bases.items() if id(model) in in_use}
        self.joined.tidy({key for library in self._served.values() for key in library.held_manifests})

    @property
    def _live(self) -> dict[str, Version]:
        return {name: one.live for name, one in self._served.items() if one.live is not None}

    def _names(self) -> list[str]:
        names, wanted = self._household.store.library_names(), self._options.library
        return [name for name in names if wanted in (None, name) and self._is_there(name)]

    def _is_there(self, name: str) -> bool:
        """One whose document cannot be read is: it says so when it is followed, and holds up no other."""
        try:
            return self._household.store.has_library(name)
        except Exception:  # noqa: BLE001 - as in `Library.follow`
            return True

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
                self.unreachable = None
                if any(one.live for one in self._served.values()):
                    give_way()  # to whoever is answered by it, when the next version comes
            except Exception as error:  # noqa: BLE001 - a store that cannot be reached now may be at the next look
                reason = reason_of(error)
                if reason != self.unreachable:
                    log.error("the index store cannot be read: %s", reason)  # noqa: TRY400
                self.unreachable = reason
            self._stop.wait(self._options.poll_seconds)


def _shelf(options: Options, metrics: Metrics) -> Shelf | None:
    """Where experts' factors are kept, if not all of them are in memory."""
    limits = options.limits
    if limits.expert_megabytes is None:
        return None
    near = Residence(limits.expert_megabytes * MEGABYTE, patience=limits.expert_patience, witness=metrics)
    return Shelf(near, Warm(limits.warm_megabytes * MEGABYTE), told=metrics.read)
