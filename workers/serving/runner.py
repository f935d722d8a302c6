"""The thread that runs the model, and the bridge from it to the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Hashable, Sequence

from routing.engine import Engine, EngineEnded, Step, Ticket
from routing.work import Work
from workers.serving.heap import Collector

log = logging.getLogger(__name__)
IDLE_SECONDS = 0.2
Told = Callable[[int], None]


class Steps:
    """The steps of some works as they come, each with its place; closing cancels what is left."""

    def __init__(
        self, engine: Engine, tickets: Sequence[Ticket], queue: asyncio.Queue[tuple[int, Step]]
    ) -> None:
        self._engine = engine
        self._tickets = tickets
        self._queue = queue

    async def __aiter__(self) -> AsyncIterator[tuple[int, Step]]:
        unfinished = len(self._tickets)
        while unfinished:
            place, step = await self._queue.get()
            if step.error is not None:
                raise step.error
            unfinished -= step.finish is not None
            yield place, step

    @property
    def admitted(self) -> float | None:
        """Since when the first of them takes turns (`time.monotonic`); None while all wait for a place."""
        times = [ticket.admitted for ticket in self._tickets if ticket.admitted is not None]
        return min(times, default=None)

    def close(self) -> None:
        """Cancel what has not finished."""
        for ticket in self._tickets:
            self._engine.cancel(ticket)


class Runner:
    """Steps the engine for as long as there is work; everything heavy happens on its thread."""

    def __init__(self, engine: Engine, garbage: Collector | None = None) -> None:
        """With `garbage` that is looked for between steps: for a process which does it at no other time."""
        self.engine = engine
        self._stop = threading.Event()
        self._garbage = garbage
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Run until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """End after the step that is under way."""
        self._stop.set()
        self._thread.join()

    def submit(self, works: Sequence[Work], *, caller: Hashable, told: Told = lambda _place: None) -> Steps:
        """Begin some works together, which had places until now (see `Engine.take`); EngineEnded too late.

        `told` hears, on the event loop, of every step of the work at a place, also where nobody reads it.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[int, Step]] = asyncio.Queue()

        def come(place: int, step: Step) -> None:
            queue.put_nowait((place, step))
            told(place)

        listeners = [_Bridge(loop, come, place) for place in range(len(works))]
        tickets = self.engine.take(list(zip(works, listeners, strict=True)), caller=caller)
        return Steps(self.engine, tickets, queue)

    def _run(self) -> None:
        """Whatever ends this thread, nobody goes on waiting for it."""
        try:
            while not self._stop.is_set():
                busy = self.engine.wait(IDLE_SECONDS)
                if busy:
                    self.engine.step()
                if self._garbage is not None:
                    self._garbage.look(busy=busy)
        except BaseException:
            log.exception("the thread that runs the model ends")
        finally:
            self.engine.end(EngineEnded("the thread that runs the model has ended"))


class _Bridge:
    """Carries a step from the model's thread to the event loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, come: Callable[[int, Step], None], place: int
    ) -> None:
        self._loop = loop
        self._come = come
        self._place = place

    def __call__(self, step: Step) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._come, self._place, step)
