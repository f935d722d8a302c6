"""Index versions that requests name: read when first asked for, and held for a while."""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from routing.pack import Pack
from routing.routed import RoutedModel
from routing.store import Current
from workers.serving.errors import ApiError
from workers.serving.giving_way import apart
from workers.serving.options import Limits
from workers.serving.promises import NotEnoughMemory
from workers.serving.retiring import MOST_SECONDS, Retiring
from workers.serving.versions import Version


@dataclass
class _Held:
    """A version, and when it was asked for last."""

    version: Version
    used: float


class Pinned:
    """As many versions as the limits allow, counting those that are still answering.

    The longest unused makes room for another one, but none that was used in the last seconds: whoever asks
    for one version after the other cannot put out what others are using. One is read at a time, on a thread
    that gives way, and who asked waits. Only those who want another one that is not here wait for that, and
    they are few: neither what is held nor the switch to a new version is held up, however many old versions
    are asked for.
    """

    def __init__(self, limits: Limits, retiring: Retiring) -> None:
        self._limits = limits
        self._retiring = retiring
        self._held: dict[int, _Held] = {}
        self._packs: list[weakref.ref[Pack]] = []  # of all that were held, as long as anybody answers by them
        self._seen: weakref.WeakValueDictionary[int, Version] = weakref.WeakValueDictionary()
        self._named: tuple[str, float] | None = None  # the live version, by manifest, and when it was
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._places = threading.BoundedSemaphore(limits.pinned_waiting)
        self._of = object()  # the base that the versions stand on; what was read for another is not held

    @property
    def held(self) -> list[Version]:
        """Those that are held."""
        with self._lock:
            return [one.version for one in self._held.values()]

    def name_live(self, live: Version) -> None:
        """The live version was asked for by its number."""
        self._named = (live.manifest, time.monotonic())

    def retire(self, version: Version) -> None:
        """This was live: it is held for who asked for it by its number, and found while it still answers."""
        with self._lock:
            self._seen[version.number] = version
            named, at = self._named or ("", 0.0)
            lately = time.monotonic() - at <= self._limits.pinned_seconds
            if named == version.manifest and lately and self._has_room():
                self._hold(version, at)

    def taken(self, current: Current, model: RoutedModel) -> Version | None:
        """What is to be live now, if it is here; another one of its number is forgotten."""
        with self._lock:
            one = self._held.pop(current.number, None)
            found = self._seen.pop(current.number, None) if one is None else one.version
            if found is None or found.manifest != current.manifest or found.model is not model:
                return None
            self._packs = [pack for pack in self._packs if pack() is not found.pack]
        return found

    def version(self, number: int, find: Callable[[int], Callable[[], Version]]) -> Version:
        """The version of this number, read if it is not here: `find` says how, or raises where there is none.

        ApiError if many wait for others already, or there is no room beside those that are being used.
        """
        found = self._find(number)
        if found is not None:
            return found
        if not self._places.acquire(blocking=False):
            raise _busy("other index versions are being read", retry_after=1)
        try:
            with self._reading:
                return self._find(number) or self._read(number, find(number))
        finally:
            self._places.release()

    def tidy(self, servable: Callable[[int], bool] = lambda _: True) -> None:
        """Let go of what nobody asked for lately, and of what may not be served any more."""
        oldest = time.monotonic() - self._limits.pinned_seconds
        with self._lock:
            for number, one in list(self._held.items()):
                if one.used < oldest or not servable(number):
                    del self._held[number]

    def let_go(self) -> bool:
        """Give up the longest unused that does not answer; False if there is none."""
        return self._give_up(math.inf)

    def forget(self) -> None:
        """Let go of all, and do not hold what is being read now: the base is another one."""
        with self._lock:
            self._of = object()
            self._held.clear()
            self._seen.clear()

    def _find(self, number: int) -> Version | None:
        """What is here, held from now on where there is room."""
        with self._lock:
            found, now = self._held.get(number), time.monotonic()
            if found is not None:
                found.used = now
                return found.version
            answering = self._seen.get(number)
            if answering is not None and self._has_room():
                self._hold(answering, now)
            return answering

    def _read(self, number: int, read: Callable[[], Version]) -> Version:
        base = self._of
        self._make_room()
        while True:
            try:
                version = apart(read)
                break
            except NotEnoughMemory:
                if not self._give_up(self._rested()):
                    raise
        with self._lock:
            if self._of is base:
                self._seen[number] = version
                self._hold(version, time.monotonic())
        return version

    def _make_room(self) -> None:
        """Let go of others until one more may be held; ApiError where all of them are being used."""
        with self._lock:
            if self._has_room():
                return
            if self._alive() > len(self._held):
                gc.collect()  # a failed request's version may hang on its own traceback, in a circle
            if self._has_room():
                return
            rested = self._rested()
            waits = [one.used - rested for one in self._held.values() if one.used > rested]
        raise _busy(
            f"{self._limits.pinned_versions} other index versions are being used, as many as are held",
            retry_after=max(1, math.ceil(min(waits, default=0.0))),
        )

    def _has_room(self) -> bool:
        """Whether one more may be held, once those that may be are let go of."""
        while self._alive() >= self._limits.pinned_versions:
            if not self._put_out(self._rested()):
                return False
        return True

    def _rested(self) -> float:
        """Whoever was not used since then may be put out for another."""
        return time.monotonic() - self._limits.pinned_grace

    def _give_up(self, before: float) -> bool:
        """As `_put_out`, and its memory is free then."""
        with self._lock:
            done = self._put_out(before)
        if done:
            self._retiring.catch_up(MOST_SECONDS)
        return done

    def _put_out(self, before: float) -> bool:
        """Let go of the longest unused that was not asked for since then and does not answer, if any."""
        for number in self._by_use():
            if self._held[number].used > before:
                return False
            one = self._held.pop(number)
            pack, version, used = weakref.ref(one.version.pack), weakref.ref(one.version), one.used
            del one
            if pack() is None:
                return True
            answering = version()
            if answering is None:
                gc.collect()  # nobody answers by it; what is left of it hangs in a circle
                return True
            if answering is not None:
                self._held[number] = _Held(answering, used)
            del answering
        return False

    def _by_use(self) -> list[int]:
        """The numbers of those that are held, the longest unused first."""
        return sorted(self._held, key=lambda number: self._held[number].used)

    def _hold(self, version: Version, used: float) -> None:
        self._held[version.number] = _Held(version, used)
        if all(pack() is not version.pack for pack in self._packs):
            self._packs.append(weakref.ref(version.pack))

    def _alive(self) -> int:
        """How many that were held are in memory."""
        self._packs = [pack for pack in self._packs if pack() is not None]
        return len(self._packs)


def _busy(why: str, *, retry_after: int) -> ApiError:
    return ApiError(429, f"{why}; try again", code="version_busy", retry_after=retry_after)
