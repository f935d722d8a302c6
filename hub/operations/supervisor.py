"""Keeps the parts of a hub running: starts them, restarts what crashes, and stops all of them together."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from hub.errors import HubError
from hub.operations.processes import Part, RunningPart, Say, said_of
from hub.operations.tether import Tether

FIRST_DELAY = 1.0
LONGEST_DELAY = 30.0
STEADY_AFTER = 60.0
LOOK_EVERY = 0.1


class NotReady(HubError):
    """Some parts did not become ready in time."""

    code = "not_ready"


@dataclass
class Seat:
    """The place of one part: who sits in it now, and when the next one may."""

    part: Part
    running: RunningPart | None = None
    ready: bool = False
    delay: float = 0.0
    start_at: float = 0.0


class Supervisor:
    """Runs parts as process groups until told to stop; nothing that it started outlives it."""

    def __init__(
        self,
        parts: Sequence[Part],
        *,
        say: Say,
        started: Callable[[Mapping[str, int]], None] = lambda _ids: None,
    ) -> None:
        self._say = say
        self._started = started
        self._seats = [Seat(part) for part in parts]
        self._stopping = threading.Event()
        self._hurry = threading.Event()
        self._tether = Tether()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start every part; returns at once."""
        self._thread.start()

    def wait_until_ready(self, seconds: float, *, unless: threading.Event | None = None) -> None:
        """Return when all parts are ready at the same time, or when `unless` is set.

        Raises NotReady, naming those that are not, when `seconds` pass before.
        """
        last_moment = time.monotonic() + seconds
        while not self.all_ready() and not (unless is not None and unless.is_set()):
            if time.monotonic() > last_moment:
                late = ", ".join(seat.part.name for seat in self._seats if not seat.ready)
                raise NotReady(f"not ready after {seconds:.0f} s: {late}")
            time.sleep(LOOK_EVERY)

    def all_ready(self) -> bool:
        return all(seat.ready for seat in self._seats)

    def process_ids(self) -> dict[str, int]:
        """The first process of each running part, by the part's name."""
        return {seat.part.name: seat.running.pid for seat in self._seats if seat.running is not None}

    def hurry(self) -> None:
        """Stop waiting for a graceful end."""
        self._hurry.set()

    def stop(self) -> None:
        """Ask every part to end, give each its grace, then end it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        running = [seat.running for seat in self._seats if seat.running is not None]
        for part in running:
            part.ask_to_stop()
        self._await_end(running)
        for part in running:
            part.stop(patience=0.0)
        for seat in self._seats:
            seat.running, seat.ready = None, False
        self._tether.close()

    def _await_end(self, running: Sequence[RunningPart]) -> None:
        asked_at = time.monotonic()
        left = list(running)
        while left and not self._hurry.wait(LOOK_EVERY):
            waited = time.monotonic() - asked_at
            left = [part for part in left if part.ended_with() is None and waited < part.part.grace]

    def _watch(self) -> None:
        while not self._stopping.is_set():
            for seat in self._seats:
                self._tend(seat)
            self._stopping.wait(LOOK_EVERY)

    def _tend(self, seat: Seat) -> None:
        if seat.running is None:
            if time.monotonic() >= seat.start_at:
                seat.running = RunningPart(seat.part, say=self._say, tether=self._tether)
                self._started(self.process_ids())
            return
        status = seat.running.ended_with()
        if status is not None:
            self._give_up_seat(seat, seat.running, status)
        elif not seat.ready and seat.running.is_ready():
            seat.ready = True
            self._say(seat.part.name, f"ready {seat.part.address}".rstrip())

    def _give_up_seat(self, seat: Seat, ended: RunningPart, status: int) -> None:
        steady = time.monotonic() - ended.started_at > STEADY_AFTER
        seat.delay = FIRST_DELAY if steady or not seat.delay else min(2 * seat.delay, LONGEST_DELAY)
        seat.start_at = time.monotonic() + seat.delay
        seat.running = None
        seat.ready = False
        self._say(seat.part.name, f"{said_of(status)}; starting it again in {seat.delay:.0f} s")
