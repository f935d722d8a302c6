"""Index versions that requests name: read when first asked for, and held for a while."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from routing.routed import RoutedModel
from routing.store import Current
from workers.serving.errors import ApiError
from workers.serving.options import Limits
from workers.serving.versions import Version


class Pinned:
    """As many versions as the limits allow; the longest unused goes first.

    One is read at a time, on the thread of who asked. Only those who want another one that is not here wait
    for that, and they are few: neither what is held nor the switch to a new version is held up, however many
    old versions are asked for.
    """

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.pinned_versions
        self._held: OrderedDict[int, Version] = OrderedDict()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._places = threading.BoundedSemaphore(limits.pinned_waiting)
        self._of = object()  # the base that the versions stand on; what was read for another is not held

    @property
    def held(self) -> list[Version]:
        """Those in memory."""
        with self._lock:
            return list(self._held.values())

    def find(self, number: int) -> Version | None:
        """The version of this number, if it is in memory."""
        with self._lock:
            if number in self._held:
                self._held.move_to_end(number)
            return self._held.get(number)

    def taken(self, current: Current, model: RoutedModel) -> Version | None:
        """What is to be live now, if it is here; another one of its number is forgotten."""
        with self._lock:
            found = self._held.pop(current.number, None)
        same = found is not None and found.manifest == current.manifest and found.model is model
        return found if same else None

    def version(self, number: int, read: Callable[[int], Version]) -> Version:
        """The version of this number, read if it is not here; ApiError if many wait for others already."""
        found = self.find(number)
        if found is not None:
            return found
        if not self._places.acquire(blocking=False):
            raise ApiError(
                429, "other index versions are being read; try again", code="version_busy", retry_after=1
            )
        try:
            with self._reading:
                return self.find(number) or self._read(number, read)
        finally:
            self._places.release()

    def forget(self) -> None:
        """Let go of all, and do not hold what is being read now: the base is another one."""
        with self._lock:
            self._of = object()
            self._held.clear()

    def _read(self, number: int, read: Callable[[int], Version]) -> Version:
        base = self._of
        version = read(number)
        with self._lock:
            if self._of is base:
                self._held[number] = version
                while len(self._held) > self._limit:
                    self._held.popitem(last=False)
        return version
