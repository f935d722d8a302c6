"""Index versions with private experts added, for those who bring a list of them."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import OrderedDict
from dataclasses import dataclass

from routing.errors import MissingObject, RoutingError
from routing.pack import Pack
from routing.store import IndexStore
from workers.serving.answer_memory import AnswerMemory
from workers.serving.canary import Proven
from workers.serving.errors import ApiError
from workers.serving.guests import Guests, not_taken, unusable
from workers.serving.metrics import Metrics
from workers.serving.options import Options
from workers.serving.promises import NotEnoughMemory
from workers.serving.retiring import MOST_SECONDS, Retiring
from workers.serving.versions import Version, with_guests

IDLE_SECONDS = 600.0  # as long as a list is good; whoever asks again later waits again
Key = tuple[str, str, str]


@dataclass
class _Held:
    """A version with guests, and when it was asked for last."""

    version: Version
    used: float


class Joined:
    """As many as the options allow, counting those that are still answering; the longest unused goes first.

    Found by library, manifest and the guests' digest, so only by who brings a list of exactly these guests.
    One is assembled at a time, on the thread of who asked: neither the model's thread nor a swap waits.
    """

    def __init__(
        self,
        store: IndexStore,
        options: Options,
        metrics: Metrics,
        retiring: Retiring,
        proven: Proven,
        memory: AnswerMemory,
    ) -> None:
        self._store = store
        self._proven = proven
        self._memory = memory
        self._retiring = retiring
        self._limit = options.limits.private_versions
        self._metrics = metrics
        self._held: OrderedDict[Key, _Held] = OrderedDict()
        self._packs: list[weakref.ref[Pack]] = []  # of all that were assembled and are in memory
        self._lock = threading.Lock()
        self._assembling = threading.Lock()
        self._places = threading.BoundedSemaphore(options.limits.private_waiting)

    def version(self, version: Version, guests: Guests) -> Version:
        """The version with these guests; ApiError if there is no room for it, or an expert is unusable."""
        if not self._limit:
            raise not_taken("this serving process was told to hold no version with them")
        key = (version.library, version.manifest, guests.digest)
        found = self._find(key, version)
        if found is not None:
            return found
        if not self._places.acquire(blocking=False):
            raise _busy("private experts of others are being read")
        try:
            with self._assembling:
                return self._find(key, version) or self._assemble(key, version, guests)
        finally:
            self._places.release()

    def of(self, library: str) -> list[Version]:
        """Those of a library that are held."""
        with self._lock:
            return [one.version for key, one in self._held.items() if key[0] == library]

    def let_go(self) -> bool:
        """Give up the longest unused for something that comes before all of them; False if there is none."""
        with self._lock:
            if not self._held:
                return False
            self._held.popitem(last=False)
            self._count()
        self._retiring.catch_up(MOST_SECONDS)
        return True

    def tidy(self, held: set[tuple[str, str]]) -> None:
        """Forget what nobody asked for lately, and what stands on a version that is no longer in memory."""
        oldest = time.monotonic() - IDLE_SECONDS
        with self._lock:
            for key, one in list(self._held.items()):
                if key[:2] not in held or one.used < oldest:
                    del self._held[key]
            self._count()

    def _find(self, key: Key, version: Version) -> Version | None:
        """What is held under this key, if it still stands on the model that the version has."""
        with self._lock:
            found = self._held.get(key)
            if found is None or found.version.model is not version.model:
                return None
            found.used = time.monotonic()
            self._held.move_to_end(key)
            return found.version

    def _assemble(self, key: Key, version: Version, guests: Guests) -> Version:
        self._require_here(version, guests)
        self._make_room()
        started = time.monotonic()
        try:
            joined = with_guests(
                self._store, version, guests, proven=self._proven, kept=lambda: self._memory.unused
            )
        except NotEnoughMemory as error:
            raise _busy(str(error)) from error
        except RoutingError as error:
            raise unusable(error) from error
        self._retiring.after_use(joined.pack)
        with self._lock:
            self._held[key] = _Held(joined, time.monotonic())
            self._packs.append(weakref.ref(joined.pack))
            self._count()
        self._metrics.load_seconds.observe(time.monotonic() - started)
        return joined

    def _require_here(self, version: Version, guests: Guests) -> None:
        """ApiError if what is read of the guests is gone from the store: nobody makes room for that.

        Where factors are read when they are first heard, they may come back until then.
        """
        for entry in guests.entries:
            for digest in (entry.vectors, *([entry.factors] if version.resident is None else [])):
                if not self._store.objects.exists(digest):
                    raise unusable(MissingObject(digest))

    def _make_room(self) -> None:
        """Forget until one more fits. Those that answer are in memory until they have finished."""
        with self._lock:
            while self._held and self._count() >= self._limit:
                self._held.popitem(last=False)
            if self._count() >= self._limit:
                gc.collect()
            if self._count() >= self._limit:
                raise _busy("as many versions with private experts are answering as may be held")

    def _count(self) -> int:
        """How many are in memory."""
        self._packs = [pack for pack in self._packs if pack() is not None]
        self._metrics.private_versions.set(len(self._packs))
        return len(self._packs)


def _busy(why: str) -> ApiError:
    return ApiError(429, f"{why}; try again", code="private_busy", retry_after=1)
