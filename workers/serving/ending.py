"""The end of a serving process: nothing is begun any more, and what is under way has time to end well."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import uvicorn

GRACE = 25.0  # seconds; of the 45 that deploy/ gives a process to end, with what goes before and comes behind
FLUSH = 5  # seconds for the last words of answers to be sent


class Served(Protocol):
    """The application, as far as it takes part in its end."""

    def leave(self) -> None:
        """Take no more requests, and say so."""

    def cut(self) -> None:
        """Tell all who still wait that their answers end here."""


class EndingServer(uvicorn.Server):
    """Listens on while answers go on, so that whoever looks is told that nothing more is taken here.

    It ends as soon as nobody waits for an answer, `grace` seconds after it was told to at the latest.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        served: Served,
        *,
        grace: float = GRACE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        config.timeout_graceful_shutdown = FLUSH
        super().__init__(config)
        self._served = served
        self._grace = grace
        self._clock = clock
        self._until: float | None = None

    async def on_tick(self, counter: int) -> bool:
        """Whether to stop listening; asked ten times a second."""
        if not await super().on_tick(counter):
            return False
        if self._until is None:
            self._until = self._clock() + self._grace
            self._served.leave()
            for connection in list(self.server_state.connections):
                connection.shutdown()  # those that nobody waits on now; the others behind their answers
        if self.force_exit or not self.server_state.tasks:  # of requests, until all of their answer is sent
            return True
        if self._clock() < self._until:
            return False
        self._served.cut()
        return True
