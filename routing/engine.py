"""Many answers at once: each takes a step in turn, none waits for another to finish."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from routing.generation import Finish, Generation
from routing.streaming import TextToken

RUNNING = 16
WAITING = 64


@dataclass(frozen=True)
class Step:
    """What one step of a generation made known: tokens, its end, or the error that ended it."""

    tokens: tuple[TextToken, ...] = ()
    finish: Finish | None = None
    error: Exception | None = None


Listener = Callable[[Step], None]


class EngineFull(Exception):
    """As many requests wait as may wait; come back later."""


@dataclass(frozen=True, eq=False)
class Ticket:
    """A generation in the engine's care, and who is told of its steps (on the engine's thread)."""

    generation: Generation
    listener: Listener


class Engine:
    """Round robin over generations of any models and versions. Submitting and cancelling are thread-safe.

    A step is one forward pass of one generation: a token, or a piece of a prompt. Running the tokens of
    several generations through one forward pass would replace `step` and nothing else.
    """

    def __init__(self, *, running: int = RUNNING, waiting: int = WAITING) -> None:
        self._may_run = running
        self._may_wait = waiting
        self._running: deque[Ticket] = deque()
        self._waiting: deque[Ticket] = deque()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)

    def submit(self, generations: Sequence[tuple[Generation, Listener]]) -> list[Ticket]:
        """Take the generations of one request into care, all or none; EngineFull if too many wait already."""
        tickets = [Ticket(generation, listener) for generation, listener in generations]
        with self._work:
            self._require_places(len(tickets))
            self._waiting += tickets
            self._admit()
            self._work.notify()
        return tickets

    def require_room(self) -> None:
        """EngineFull if not even one more generation would be taken: ask before preparing any."""
        with self._lock:
            self._require_places(1)

    def cancel(self, ticket: Ticket) -> None:
        """Forget a generation, wherever it is; its listener hears no more than a step that is under way."""
        with self._lock:
            for queue in (self._running, self._waiting):
                if ticket in queue:
                    queue.remove(ticket)
            self._admit()

    @property
    def running(self) -> int:
        """How many generations take turns."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many generations wait for a place."""
        return len(self._waiting)

    def wait(self, seconds: float) -> bool:
        """Sleep until there is work, at most so long; whether there is any."""
        with self._work:
            return self._work.wait_for(lambda: bool(self._running), timeout=seconds)

    def step(self) -> bool:
        """Let the next generation in turn take one step; False if there is none."""
        with self._lock:
            if not self._running:
                return False
            ticket = self._running[0]
        step = _advance(ticket.generation)
        with self._lock:
            if ticket not in self._running:
                return True  # cancelled meanwhile
            self._running.remove(ticket)
            if step.finish is None and step.error is None:
                self._running.append(ticket)
            self._admit()
        ticket.listener(step)
        return True

    def _require_places(self, wanted: int) -> None:
        if wanted > self._may_run + self._may_wait - len(self._running) - len(self._waiting):
            raise EngineFull(f"{len(self._running)} answers are under way and {len(self._waiting)} wait")

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._may_run:
            self._running.append(self._waiting.popleft())


def _advance(generation: Generation) -> Step:
    try:
        tokens = generation.advance()
    except Exception as error:  # noqa: BLE001 - one answer's failure must not end the others
        return Step(error=error)
    return Step(tuple(tokens), generation.finish)
