"""How much memory the keys and values of answers under way may take, where the operator leaves that open.

It is half of what is free on the device, beside what kept beginnings of conversations and experts' factors
may still take. The other half is for index versions to come, for what a pass needs for a moment, and for
whoever else is on the machine.

What is free is looked up when a base is loaded, when a library has its first version, and when one of them is
gone: the limit must not move with every answer and neighbour. In between it falls as live versions grow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from weakref import WeakSet

from routing.engine import Engine
from routing.residence import megabytes
from routing.resident import Shelf
from routing.routed import RoutedModel
from workers.serving.free_memory import free_memory
from workers.serving.options import AUTO, MEGABYTE, Limits
from workers.serving.promises import PROMISES
from workers.serving.versions import Version

log = logging.getLogger(__name__)
PART = 2  # of what is free answers may take one in so many
LEAST = 64  # MiB, however little is free: nobody could be answered with nothing, and free memory is a guess


@dataclass(frozen=True)
class _Look:
    """What was free when it was looked up, what live versions took then, and what there was to look at."""

    free: int | None = None
    taken: int = 0
    bases: tuple[str, ...] = ()
    libraries: frozenset[str] = frozenset()


class AnswerMemory:
    """Keeps an engine's limit. For the watcher's thread; anybody may read `limits` and `unused`."""

    def __init__(self, engine: Engine, limits: Limits, shelf: Shelf | None = None) -> None:
        self.limits = limits
        self._engine = engine
        self._shelf = shelf
        self._open = limits.memory_megabytes == AUTO
        self._bases = WeakSet[RoutedModel]()  # in memory, whether they are served or not
        self._live: dict[str, str] = {}
        self._taken = 0
        self._last = _Look()

    @property
    def limit(self) -> int | None:
        """In bytes; None: there is none, or no base yet."""
        return self.limits.memory_bytes

    @property
    def unused(self) -> int:
        """Bytes that answers may yet take, on whichever device; none are theirs where there is no limit."""
        limit = self.limit
        return 0 if limit is None else max(0, limit - self._held)

    @property
    def _held(self) -> int:
        return sum(self._engine.memory_bytes().values())

    def take_up(self, base: RoutedModel) -> None:
        """A base is loaded: what it writes is bounded before anybody is answered."""
        self._bases.add(base)
        self._follow(self._last.libraries)

    def look(self, live: Mapping[str, Version]) -> None:
        """Follow the live versions, by library."""
        now = {name: version.manifest for name, version in live.items()}
        if now != self._live:
            self._live = now
            self._taken = _bytes(live.values())
        self._follow(frozenset(live))

    def _follow(self, libraries: frozenset[str]) -> None:
        if not self._open:
            return
        bases = tuple(sorted(model.base.spec.digest for model in self._bases))
        last = self._last
        if anew := (bases, libraries) != (last.bases, last.libraries):
            last = self._last = _Look(self._free(), self._taken, bases, libraries)
        if last.free is None:
            self._allow(None)
            if anew and bases:
                log.warning("nobody says how much memory is free: answers may take all (--memory-megabytes)")
            return
        fitting = (last.free - (self._taken - last.taken)) // PART
        self._allow(max(LEAST, fitting // MEGABYTE))
        if anew and libraries:
            self._say(fitting)

    def _free(self) -> int | None:
        """Bytes for answers and for all that nobody knows yet; None where no device says."""
        to_keep = sum(model.prefixes.unused for model in self._bases if model.prefixes is not None)
        to_read = 0 if self._shelf is None else self._shelf.near.spare
        known = [
            free - max(to_read, PROMISES.of(device))  # a version on the shelf was promised what is free there
            for device in {model.base.device for model in self._bases}
            if (free := free_memory(device)) is not None
        ]
        return min(known) + self._held - to_keep if known else None

    def _allow(self, found: int | None) -> None:
        if found == self.limits.memory_megabytes:
            return
        self.limits = replace(self.limits, memory_megabytes=found)
        self._engine.allow(self.limits.memory_bytes)

    def _say(self, fitting: int) -> None:
        log.log(
            logging.INFO if fitting >= LEAST * MEGABYTE else logging.WARNING,
            "keys and values of answers may take %s: half of what is free, %s, or at least %s",
            megabytes(self.limit or 0),
            megabytes(max(0, fitting)),
            megabytes(LEAST * MEGABYTE),
        )


def _bytes(versions: Iterable[Version]) -> int:
    """What versions take in memory."""
    return sum(version.pack.nbytes for version in versions)
