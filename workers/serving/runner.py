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
MOST_UNREAD = 512  # tokens of an answer, before the engine waits for its reader
Told = Callable[[int], None]


class Steps:
    """The steps of some works as they come, each with its place; closing cancels what is left.

    A work of which too much is not read yet is paused. For the event loop alone.
    """

    def __init__(self, engine: Engine, works: int, told: Told) -> None:
        self._engine = engine
        self._told = told
        self._tickets: Sequence[Ticket] = ()
        self._admitted: float | None = None
        self._queue = asyncio.Queue[tuple[int, Step]]()
        self._unread = [0] * works
        self._paused = set[int]()

    def begin(self, works: Sequence[Work], caller: Hashable) -> None:
        """Give the works to the engine."""
        loop = asyncio.get_running_loop()
        listeners = [_Bridge(loop, self.come, place) for place in range(len(works))]
        self._tickets = self._engine.take(list(zip(works, listeners, strict=True)), caller=caller)

    def come(self, place: int, step: Step) -> None:
        """Take a step that nobody has read yet."""
        self._queue.put_nowait((place, step))
        self._told(place)
        self._unread[place] += len(step.tokens)
        if self._tickets and self._unread[place] > MOST_UNREAD and place not in self._paused:
            self._paused.add(place)
            self._engine.pause(self._tickets[place])

    async def __aiter__(self) -> AsyncIterator[tuple[int, Step]]:
        unfinished = len(self._tickets)
        while unfinished:
            place, step = await self._queue.get()
            self._unread[place] -= len(step.tokens)
            if place in self._paused and self._unread[place] <= MOST_UNREAD // 2:
                self._paused.remove(place)
                self._engine.go_on(self._tickets[place])
            if step.error is not None:
                raise step.error
            unfinished -= step.finish is not None
            yield place, step

    @property
    def admitted(self) -> float | None:
        """Since when the first of them takes turns (`time.monotonic`); None while all wait for a place."""
        times = [ticket.admitted for ticket in self._tickets if ticket.admitted is not None]
        return min(times, default=self._admitted)

    def close(self) -> None:
        """Cancel what has not finished, and let go of all: the tickets lead here, too, and would be kept."""
        self._admitted = self.admitted
        for ticket in self._tickets:
            self._engine.cancel(ticket)
        self._paused.clear()
        self._tickets, self._told, self._queue = (), _nobody, asyncio.Queue()


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

    def submit(self, works: Sequence[Work], *, caller: Hashable, told: Told | None = None) -> Steps:
        """Begin some works together, which had places until now (see `Engine.take`); EngineEnded too late.

        `told` hears, on the event loop, of every step of the work at a place, also where nobody reads it.
        """
        steps = Steps(self.engine, len(works), told or _nobody)
        steps.begin(works, caller)
        return steps

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


def _nobody(_place: int) -> None:
    """Where nobody wants to be told."""
