"""Many answers and embeddings at once: their tokens go through the base together, none waits for another."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from routing.streaming import TextToken
from routing.together import Heard, Reading, read_alone, read_together
from routing.work import PREFILL_CHUNK, Finish, Work

RUNNING = 16
WAITING = 64
PREFILL_BESIDE = 128  # tokens of prompts per pass while others wait for their next token


@dataclass(frozen=True)
class Step:
    """What one step made known: tokens, the end of the work, or the error that ended it."""

    tokens: tuple[TextToken, ...] = ()
    finish: Finish | None = None
    error: Exception | None = None


Listener = Callable[[Step], None]
Told = Callable[[int, int], None]


class EngineFull(Exception):
    """As many requests wait as may wait; come back later."""


@dataclass(eq=False)
class Ticket:
    """An answer or embedding in the engine's care, who is told of its steps (on its thread), and who asked.

    `admitted` says since when it takes turns (`time.monotonic`); None while it waits for a place.
    """

    work: Work
    listener: Listener
    caller: str = ""
    admitted: float | None = None


class Engine:
    """Works of any models and versions, run together. Submitting and cancelling are thread-safe.

    A step is one forward pass: a token of each answer that is being written, and a piece of the prompts that
    are being read. Answers of another model take the next step; a base that cannot read together (see
    `routing.ragged_trial`) takes a step for each of its answers in turn.
    """

    def __init__(
        self,
        *,
        running: int = RUNNING,
        waiting: int = WAITING,
        memory: int | None = None,
        told: Told = lambda _answers, _tokens: None,
    ) -> None:
        """`told` hears of every pass how many answers it was for, and how many tokens it read.

        With `memory`, in bytes, answers begin only while all that are under way would fit into it at their
        longest. Who does not fit yet waits, and whoever would come after waits too, so that nobody starves.
        One that could never fit is for the caller to refuse; here it takes its turn alone.
        """
        self._told = told
        self._may_take = memory
        self._may_run = running
        self._may_wait = waiting
        self._running: deque[Ticket] = deque()
        self._waiting: deque[Ticket] = deque()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)

    def submit(self, works: Sequence[tuple[Work, Listener]], *, caller: str = "") -> list[Ticket]:
        """Take the works of one request into care, all or none; EngineFull if too many wait already.

        Who waits longest comes next, but a `caller` with fewer answers under way comes before one with more.
        """
        tickets = [Ticket(work, listener, caller) for work, listener in works]
        with self._work:
            self._require_places(len(tickets))
            self._waiting += tickets
            self._admit()
            self._work.notify()
        return tickets

    def require_room(self) -> None:
        """EngineFull if not even one more would be taken: ask before preparing any."""
        with self._lock:
            self._require_places(1)

    def cancel(self, ticket: Ticket) -> None:
        """Forget one, wherever it is; its listener hears no more than a step that is under way."""
        with self._lock:
            for queue in (self._running, self._waiting):
                if ticket in queue:
                    queue.remove(ticket)
            self._admit()

    @property
    def running(self) -> int:
        """How many take turns."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return len(self._waiting)

    def held(self, caller: str) -> int:
        """How many answers of this caller are under way or wait."""
        with self._lock:
            return sum(
                ticket.caller == caller for queue in (self._running, self._waiting) for ticket in queue
            )

    def memory_bytes(self) -> dict[str, int]:
        """By base: how much memory the keys and values of the answers under way take."""
        with self._lock:
            works = [ticket.work for ticket in self._running]
        taken: Counter[str] = Counter()
        for work in works:
            taken[work.model.base.spec.name] += work.memory_bytes
        return taken

    def wait(self, seconds: float) -> bool:
        """Sleep until there is work, at most so long; whether there is any."""
        with self._work:
            return self._work.wait_for(lambda: bool(self._running), timeout=seconds)

    def step(self) -> bool:
        """Let those whose turn it is take one step; False if there is nobody."""
        with self._lock:
            tickets = self._in_turn()
        if not tickets:
            return False
        before = [ticket.work.passed_tokens for ticket in tickets]
        steps = _advance([ticket.work for ticket in tickets])
        read = [ticket.work.passed_tokens - had for ticket, had in zip(tickets, before, strict=True)]
        self._told(sum(count > 0 for count in read), sum(read))
        with self._lock:
            there = [ticket in self._running for ticket in tickets]  # or cancelled meanwhile
            for ticket, step in zip(tickets, steps, strict=True):
                if ticket not in self._running:
                    continue
                self._running.remove(ticket)
                if step.finish is None and step.error is None:
                    self._running.append(ticket)
            self._admit()
        for ticket, step, wanted in zip(tickets, steps, there, strict=True):
            if wanted:
                ticket.listener(step)
        return True

    def _in_turn(self) -> list[Ticket]:
        """The first in the queue, and whoever can read together with it."""
        if not self._running:
            return []
        first = self._running[0]
        model = first.work.model
        if not model.reads_together:
            return [first]
        return [ticket for ticket in self._running if ticket.work.model is model]

    def _require_places(self, wanted: int) -> None:
        if wanted > self._may_run + self._may_wait - len(self._running) - len(self._waiting):
            raise EngineFull(f"{len(self._running)} answers are under way and {len(self._waiting)} wait")

    def _fits(self, ticket: Ticket) -> bool:
        if self._may_take is None or not self._running:
            return True
        promised = sum(one.work.most_bytes for one in self._running)
        return promised + ticket.work.most_bytes <= self._may_take

    def _admit(self) -> None:
        while self._waiting and len(self._running) < self._may_run:
            busy = Counter(ticket.caller for ticket in self._running)
            ticket = min(self._waiting, key=lambda one: busy[one.caller])  # of equals the first
            if not self._fits(ticket):
                break
            self._waiting.remove(ticket)
            ticket.admitted = time.monotonic()
            self._running.append(ticket)


def _advance(works: Sequence[Work]) -> list[Step]:
    """One step of each; what has no room in the pass takes an empty one."""
    readings = _shared_out(works)
    turn = [(work, reading) for work, reading in zip(works, readings, strict=True) if reading]
    if len(turn) == 1:
        heard: list[Heard | Exception] = [_alone(*turn[0])]
    else:
        try:
            heard = [*read_together(turn[0][0].model, [reading for _, reading in turn])]
        except Exception:  # noqa: BLE001 - one answer's failure must not end the others
            heard = [_alone(work, reading) for work, reading in turn]
    steps = iter([_step(work, reading, one) for (work, reading), one in zip(turn, heard, strict=True)])
    return [Step() if reading is None else next(steps) for reading in readings]


def _shared_out(works: Sequence[Work]) -> list[Reading | None]:
    """What each reads in the next pass: everybody who speaks a token, the others a share of what is left."""
    speaking = sum(work.speaks for work in works)
    left = PREFILL_CHUNK if not speaking else PREFILL_BESIDE
    readings: list[Reading | None] = []
    for work in works:
        if work.speaks:
            readings.append(work.reading())
        elif left:
            reading = work.reading(left)
            left -= len(reading.tokens)
            readings.append(reading)
        else:
            readings.append(None)
    return readings


def _alone(work: Work, reading: Reading) -> Heard | Exception:
    try:
        return read_alone(work.model, reading)
    except Exception as error:  # noqa: BLE001 - told to whoever waits for this answer
        return error


def _step(work: Work, reading: Reading, heard: Heard | Exception) -> Step:
    if isinstance(heard, Exception):
        return Step(error=heard)
    try:
        tokens = work.hear(reading, heard)
    except Exception as error:  # noqa: BLE001 - as above
        return Step(error=error)
    return Step(tuple(tokens), work.finish)
