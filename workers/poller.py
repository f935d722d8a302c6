"""A thread of the worker's main process that finds due jobs and rings for them in this worker's own queue.

Without a broker it is the only way in: jobs are rung for as soon as they are due. With Redis the hub rings,
and the poller rings again for what nobody claimed. It never takes more than the pool has free places, so a
job waits in the table, where every worker can see it, and not in a message.
"""

import logging
import os
import queue
import signal
import threading
import time
from datetime import timedelta
from typing import Any

from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from celery import bootsteps, signals
from celery.worker import state
from celery.worker.request import Request
from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from kombu.exceptions import OperationalError

from hub.blobs import services as blobs
from hub.downloads import services as downloads
from hub.jobs import services as jobs
from hub.jobs.models import Job
from hub.mirrors import services as mirrors
from hub.notifications import services as notifications
from hub.operations.liveness import worker_file
from hub.search import meanings
from hub.search import services as search
from hub.uses import services as uses
from workers.claiming import record_death
from workers.folders import sweep_work_folders
from workers.forking import no_fork_meanwhile

EMBEDDED_INTERVAL = 0.15
REDIS_INTERVAL = 2.0
UNHEARD_AFTER = timedelta(seconds=3)  # with Redis: how long a ring may take to be heard
FORGET_RING_AFTER = 30.0
ALIVE_EVERY = 5.0
COUNT_EVERY = 60.0
SWEEP_EVERY = 3600.0
LEAVE_WITHIN = 6.0
LEFTOVER_AFTER = timedelta(days=1)
log = logging.getLogger(__name__)


class Poller(bootsteps.StartStopStep):
    """Starts when the pool is there and stops before it goes."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self._rounds: Rounds | None = None

    def start(self, worker: Any) -> None:
        self._rounds = Rounds(worker)
        self._rounds.start()

    def stop(self, worker: Any) -> None:  # noqa: ARG002 (Celery's signature)
        if self._rounds is not None:
            self._rounds.stop()

    def terminate(self, worker: Any) -> None:
        leave_soon()
        self.stop(worker)


class Rounds(threading.Thread):
    """Goes round until told to stop: deaths of children, due jobs, sign of life, downloads, leftovers."""

    def __init__(self, worker: Any) -> None:
        super().__init__(name="poller", daemon=True)
        self._worker = worker
        self._places = worker.pool.num_processes
        self._leave = threading.Event()
        self._deaths: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._rung: dict[str, tuple[int, float]] = {}
        self._schema_is_current = False
        self._swept_at = -SWEEP_EVERY
        self._counted_at = -COUNT_EVERY
        self._said_alive_at = -ALIVE_EVERY
        self._interval = REDIS_INTERVAL if settings.REDIS_URL else EMBEDDED_INTERVAL
        signals.task_received.connect(self._on_received)
        signals.task_failure.connect(self._on_failure)

    def stop(self) -> None:
        self._leave.set()
        self.join(timeout=5.0)
        signals.task_received.disconnect(self._on_received)
        signals.task_failure.disconnect(self._on_failure)
        worker_file(settings.DATA / "run").unlink(missing_ok=True)

    def run(self) -> None:
        while not self._leave.wait(self._interval):
            if is_terminating():
                leave_soon()
                break
            try:
                with no_fork_meanwhile():
                    self._round()
            except (DatabaseError, InterfaceError, OperationalError, OSError) as error:
                log.warning("the poller waits: %s", error)
                connections.close_all()
                self._leave.wait(1.0)
            except Exception:  # a worker whose poller is gone looks alive and does nothing: better it ends
                log.exception("the poller cannot go on, so this worker stops")
                os.kill(os.getpid(), signal.SIGTERM)
                break
        connections.close_all()

    def _round(self) -> None:
        if not self._schema_is_current and not self._check_schema():
            return
        while not self._deaths.empty():
            record_death(*self._deaths.get())
        self._ring()
        self._say_alive()
        self._count()
        self._sweep()

    def _ring(self) -> None:
        in_hand, free = self._in_hand()
        if free <= 0:
            return
        for job in due(self._queues(), exclude=in_hand)[:free]:
            sent = self._worker.app.send_task(job.kind, args=[job.pk], queue=job.queue, retry=False)
            if not settings.REDIS_URL:
                self._rung[sent.id] = (job.pk, time.monotonic())

    def _in_hand(self) -> tuple[set[int], int]:
        """Jobs that this worker was told of and has not ended, and how many more it can begin."""
        forgotten = time.monotonic() - FORGET_RING_AFTER
        self._rung = {task: ring for task, ring in self._rung.items() if ring[1] > forgotten}
        reserved = [request for request in list(state.reserved_requests) if request.args]
        told = {job_id for job_id, _ in self._rung.values()}
        return told | {request.args[0] for request in reserved}, self._places - len(reserved) - len(
            self._rung
        )

    def _queues(self) -> list[str]:
        return list(self._worker.app.amqp.queues.consume_from)

    def _on_received(self, request: Request, **_: Any) -> None:
        self._rung.pop(request.id, None)

    def _on_failure(self, task_id: str, exception: BaseException, **_: Any) -> None:
        """The ordinary failures of a body never come here: only the loss of the process that ran it."""
        if isinstance(exception, WorkerLostError | TimeLimitExceeded):
            self._deaths.put((task_id, said_of(exception)))

    def _check_schema(self) -> bool:
        executor = MigrationExecutor(connection)
        behind = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if behind:
            log.warning("%d migrations are not applied; waiting for them before any work", len(behind))
            self._leave.wait(2.0)
        self._schema_is_current = not behind
        return self._schema_is_current

    def _say_alive(self) -> None:
        if time.monotonic() - self._said_alive_at < ALIVE_EVERY:
            return
        self._said_alive_at = time.monotonic()
        file = worker_file(settings.DATA / "run")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(os.getpid()))

    def _count(self) -> None:
        if time.monotonic() - self._counted_at < COUNT_EVERY:
            return
        self._counted_at = time.monotonic()
        downloads.add_up()
        uses.add_up()
        meanings.ask_for_forgotten()
        search.ask_for_outdated()

    def _sweep(self) -> None:
        if time.monotonic() - self._swept_at < SWEEP_EVERY:
            return
        self._swept_at = time.monotonic()
        blobs.sweep_temporary(LEFTOVER_AFTER)
        sweep_work_folders(LEFTOVER_AFTER)
        mirrors.look_at_followed()
        notifications.ask_for_forgotten_letters()
        notifications.forget_old()


def due(queues: list[str], *, exclude: set[int]) -> QuerySet[Job]:
    """Due jobs that this worker may ring for, oldest first."""
    candidates = jobs.due(queues).exclude(pk__in=exclude)
    if not settings.REDIS_URL:
        return candidates
    unheard = Q(state=Job.State.RUNNING) | Q(not_before__lte=Now() - UNHEARD_AFTER)
    return candidates.filter(unheard)


def said_of(loss: WorkerLostError | TimeLimitExceeded) -> str:
    """Why the process that did the job is gone, for the operator."""
    if isinstance(loss, TimeLimitExceeded):
        return "it did not stop at its time limit, so its process was ended"
    return f"the process that did it died: {loss}"


def is_terminating() -> bool:
    """Whether Celery has begun to end its children instead of waiting for them."""
    return bool(state.should_terminate)


def leave_soon() -> None:
    """End this process in a few seconds, whatever it still waits for.

    A pool that ends its children can wait for ever for a lock that one of them held. By now every running job
    was given back, or will be taken over when its lease expires.
    """
    leaving = threading.Timer(LEAVE_WITHIN, os._exit, args=(0,))
    leaving.daemon = True
    leaving.start()
