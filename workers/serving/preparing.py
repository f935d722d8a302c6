"""Where requests stand from the moment they come until the engine has their works.

Each takes its places before anything is worked out for it, out of the same number that the engine has: what
waits for a prior, for an index version or for experts to be read counts as what waits for its turn to be
answered. A prompt is judged by its prior in turns (see `routing.turns`). Who leaves has given their places
back at once, but for one while a thread still works for them: that ends where it next asks whether it is
wanted, and nobody else may have its place before, or they would wait for a thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from types import TracebackType
from typing import Any, Self, TypeVar

from routing.engine import Engine
from routing.turns import Asker, Turns
from routing.work import Work
from workers.serving.metrics import Metrics
from workers.serving.options import Limits
from workers.serving.targets import Target

Kind = TypeVar("Kind", bound=Work)
Result = TypeVar("Result")


class Place:
    """The places of one request that is being prepared; they are free again behind the `with` of this."""

    def __init__(self, preparing: Preparing, asker: Asker, answers: int) -> None:
        self.asker = asker
        self.answers = answers
        self.since = time.monotonic()
        self._preparing = preparing
        self.busy = False  # a thread works for it
        self._work: asyncio.Future[Any] | None = None
        self._lost: Exception | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.asker.leave()
        self._preparing.free(self)

    async def kept(self, work: Coroutine[Any, Any, Result]) -> Result:
        """What `work` comes to; where the place is lost before, why it was."""
        self._work = asyncio.ensure_future(work)
        try:
            return await self._work
        except asyncio.CancelledError:
            if self._lost is not None:
                raise self._lost from None
            raise

    def lose(self, reason: Exception) -> None:
        """End here: whoever waits for the work of this place is told why."""
        self._lost = reason
        self._preparing.free(self)
        if self._work is not None:
            self._work.cancel()


class Preparing:
    """The places, and the threads on which works are made. For the event loop alone."""

    def __init__(self, engine: Engine, limits: Limits, metrics: Metrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._turns = Turns(limits.judging)
        self._places: list[Place] = []
        self._left: list[Place] = []
        # Whoever waits here, for a turn or for room for experts, keeps a thread: there is one for each place.
        self._threads = ThreadPoolExecutor(max(1, limits.running + limits.waiting), "prepare")

    def end(self) -> None:
        """Begin nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def answers(self) -> int:
        """How many answers are being prepared, those included whose client has left a thread at work."""
        return self._prepared().total()

    def held(self, caller: Hashable) -> int:
        """How many answers of this caller are being prepared, under way, or wait."""
        return self._engine.held(caller) + self._prepared()[caller]

    def place(self, caller: Hashable, answers: int) -> Place:
        """Places for so many answers, which nobody takes away again. Errors as `Engine.require_room`."""
        self._engine.require_room(caller, answers, self._prepared())
        place = Place(self, Asker(caller, self._turns), answers)
        self._places.append(place)
        return place

    def free(self, place: Place) -> None:
        """Count a place no more; or as one, while a thread works for it."""
        if place in self._places:
            self._places.remove(place)
            if place.busy:
                self._left.append(place)

    def cut(self, error: Exception) -> None:
        """Tell this to all who are in preparation, and give their places up."""
        for place in [*self._places]:
            place.lose(error)

    async def run(self, place: Place, work: Callable[[], Result]) -> Result:
        """What `work` comes to on a thread, for a place; who is cancelled does not wait for that."""
        loop, working = asyncio.get_running_loop(), self._threads.submit(copy_context().run, work)

        def ended(_working: Future[Result]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._ended, place)

        place.busy = True
        working.add_done_callback(ended)  # before whoever waits hears of it
        return await asyncio.wrap_future(working)

    def _ended(self, place: Place) -> None:
        place.busy = False
        if place in self._left:
            self._left.remove(place)

    def _prepared(self) -> Counter[Hashable]:
        """How many places each caller has here."""
        prepared = Counter[Hashable](place.asker.name for place in self._left)
        for place in self._places:
            prepared[place.asker.name] += place.answers
        return prepared

    async def made(self, place: Place, target: Target, make: Callable[[], list[Kind]]) -> list[Kind]:
        """A request's works, with its experts in memory."""
        works = await self.run(place, make)
        self._metrics.prepare_seconds.observe(time.monotonic() - place.since)
        if target.version is None or target.version.resident is None:
            return works
        ways = {id(way): way for one in works if (way := one.route) is not None}
        narrowed = sum(way.narrowed is not None for way in ways.values())
        self._metrics.narrowed.labels(target.library).inc(narrowed)
        return works
