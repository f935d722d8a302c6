"""Where requests stand from the moment they come until the engine has their works.

Each takes its places before anything is worked out for it, out of the same number that the engine has: what
waits for a prior, for an index version or for experts to be read counts as what waits for its turn to be
answered. A prompt is judged by its prior in turns (see `routing.turns`). Who leaves has given their places
back at once, and what is worked out for them ends where it next asks whether it is wanted.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import ThreadPoolExecutor
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
        # Whoever waits here, for a turn or for room for experts, keeps a thread: there is one for each place.
        self._threads = ThreadPoolExecutor(max(1, limits.running + limits.waiting), "prepare")

    def end(self) -> None:
        """Begin nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def answers(self) -> int:
        """How many answers are being prepared."""
        return sum(place.answers for place in self._places)

    def held(self, caller: Hashable) -> int:
        """How many answers of this caller are being prepared, under way, or wait."""
        return self._engine.held(caller) + sum(
            place.answers for place in self._places if place.asker.name == caller
        )

    def place(self, caller: Hashable, answers: int) -> Place:
        """Places for so many answers, which nobody takes away again. Errors as `Engine.require_room`."""
        prepared = Counter[Hashable]()
        for other in self._places:
            prepared[other.asker.name] += other.answers
        self._engine.require_room(caller, answers, prepared)
        place = Place(self, Asker(caller, self._turns), answers)
        self._places.append(place)
        return place

    def free(self, place: Place) -> None:
        """Count a place no more."""
        if place in self._places:
            self._places.remove(place)

    def cut(self, error: Exception) -> None:
        """Tell this to all who are in preparation, and give their places up."""
        for place in [*self._places]:
            place.lose(error)

    async def run(self, work: Callable[[], Result]) -> Result:
        """What `work` comes to on a thread; who is cancelled does not wait for that."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, work)

    async def made(self, place: Place, target: Target, make: Callable[[], list[Kind]]) -> list[Kind]:
        """A request's works, with its experts in memory."""
        works = await self.run(make)
        self._metrics.prepare_seconds.observe(time.monotonic() - place.since)
        if target.version is None or target.version.resident is None:
            return works
        ways = {id(way): way for one in works if (way := one.route) is not None}
        narrowed = sum(way.narrowed is not None for way in ways.values())
        self._metrics.narrowed.labels(target.library).inc(narrowed)
        return works
