"""Renews the lease of the job in hand from a thread, and stops the work when the lease is lost."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Self

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connections

from hub.errors import Fenced
from hub.jobs import services as jobs
from hub.jobs.claims import Claim

BEATS_PER_LEASE = 4
STOP_SIGNAL = signal.SIGUSR2
log = logging.getLogger(__name__)


class Heartbeat:
    """While entered, the claim stays ours; when it cannot be kept, `stops_the_work` gets Fenced at once.

    Only the main thread of a process can be interrupted; elsewhere the loss shows when something is recorded.
    """

    _in_hand: "Heartbeat | None" = None

    def __init__(self, claim: Claim) -> None:
        self._claim = claim
        self._lease = settings.LEASE.total_seconds()
        self._over = threading.Event()
        self._worker = threading.current_thread()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{claim.job_id}", daemon=True)
        self.lost = False

    def __enter__(self) -> Self:
        if self._worker is threading.main_thread():
            # Installed for good: by default a signal that comes a moment late would end the process.
            signal.signal(STOP_SIGNAL, _stop_the_work)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    @contextmanager
    def stops_the_work(self) -> Iterator[None]:
        """The only place where a lost lease interrupts. The interruption may come in the middle of a database
        call, which then raises what it likes and leaves a connection that nobody can use.
        """
        try:
            Heartbeat._in_hand = self
            yield
        except Exception as error:
            if not self.lost:
                raise
            raise Fenced from error
        finally:
            Heartbeat._in_hand = None
            if self.lost:
                _forget_connections()

    def _beat(self) -> None:
        # Signals are the main thread's: while it reports its end to the pool it holds a lock that all
        # children share and puts SIGTERM off. Taken here, the signal would end the process with the lock.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._keep()
        finally:
            connections.close_all()

    def _keep(self) -> None:
        kept_at = time.monotonic()
        while not self._over.wait(self._lease / BEATS_PER_LEASE):
            try:
                jobs.heartbeat(self._claim)
                kept_at = time.monotonic()
            except Fenced:
                return self._lose("another worker has it")
            except (DatabaseError, InterfaceError) as error:
                connections.close_all()
                if time.monotonic() - kept_at > self._lease:
                    return self._lose(f"the database cannot be reached: {error}")
        return None

    def _lose(self, reason: str) -> None:
        log.warning("job %s: the lease is lost, %s", self._claim.job_id, reason)
        self.lost = True
        if self._worker is threading.main_thread() and self._worker.ident is not None:
            signal.pthread_kill(self._worker.ident, STOP_SIGNAL)


def _forget_connections() -> None:
    """Close this thread's connections for good: not even their notes of an open transaction are kept."""
    for alias in connections:
        with suppress(DatabaseError, InterfaceError):
            connections[alias].close()
        del connections[alias]


def _stop_the_work(_number: int, _frame: FrameType | None) -> None:
    beating = Heartbeat._in_hand  # noqa: SLF001 (the handler is the class's own other half)
    if beating is not None and beating.lost:
        raise Fenced
