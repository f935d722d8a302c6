"""One attempt at one job: claim the row, keep the lease, do the work, say how it ended.

May run twice, may die anywhere: recording checks the claim, and a dead worker's job is claimed again.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from celery.exceptions import SoftTimeLimitExceeded
from django.conf import settings
from django.db import InterfaceError, OperationalError

from hub.errors import Fenced
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import JobKind, Queue
from workers.heartbeat import Heartbeat

TOO_LONG = "it took longer than this kind of job may take"
FIRST_WAIT = timedelta(seconds=2)
ALL_QUEUES = tuple(queue.value for queue in Queue)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Duty:
    """What does a kind of job, and how many seconds it may take."""

    body: Callable[[Claim], None]
    seconds: int


class CannotBeDone(Exception):
    """Trying again would end the same way."""


def attempt(job_id: int, *, task_id: str, duties: Mapping[JobKind, Duty]) -> None:
    """Do the job if it is due; do nothing if somebody else has it, had it, or there is no such job."""
    try:
        claim = jobs.claim(queues=ALL_QUEUES, job_id=job_id)
    except (OperationalError, InterfaceError) as error:
        log.warning("job %s: the database failed, the poller will ask again: %s", job_id, error)
        return
    if claim is None:
        return
    began = time.monotonic()
    with noted(claim, task_id), Heartbeat(claim) as heartbeat:
        ending = _work(claim, duties[claim.kind], heartbeat)
    log.info("%s %s %s in %.1f s", claim.kind.value, _subject(claim), ending, time.monotonic() - began)


def _work(claim: Claim, duty: Duty, heartbeat: Heartbeat) -> str:
    """Returns how it ended, in words. Where the database itself fails, the lease is left to expire."""
    began = time.monotonic()
    try:
        with heartbeat.stops_the_work():
            duty.body(claim)
            jobs.finish(claim)
    except Fenced:
        return "lost to another worker"
    except (OperationalError, InterfaceError) as error:
        log.warning("job %s: the database failed, the lease will expire: %s", claim.job_id, error)
        return "interrupted"
    except SoftTimeLimitExceeded:
        return _failed(claim, TOO_LONG, retry_in=patience(claim))
    except (SystemExit, KeyboardInterrupt):
        # A worker that stops in order, and one that ends a process at its time limit, send the same signal.
        if time.monotonic() - began >= duty.seconds:
            _failed(claim, TOO_LONG, retry_in=patience(claim))
        else:
            _given_back(claim)
        raise
    except CannotBeDone as error:
        return _failed(claim, str(error), retry_in=None)
    except Exception as error:  # whatever a body raises must not stop the queue
        log.exception("job %s", claim.job_id)
        return _failed(claim, f"{type(error).__name__}: {error}", retry_in=patience(claim))
    return "done"


def _given_back(claim: Claim) -> None:
    with suppress(Fenced):
        jobs.give_back(claim)


def _failed(claim: Claim, reason: str, *, retry_in: timedelta | None) -> str:
    with suppress(Fenced):
        jobs.fail(claim, reason, retry_in=retry_in)
    return f"failed: {reason}"


def patience(claim: Claim) -> timedelta:
    """How long to wait before the next attempt: 2, 8, then 32 seconds."""
    return FIRST_WAIT * 4 ** min(claim.attempt - 1, 2)


@contextmanager
def noted(claim: Claim, task_id: str) -> Iterator[None]:
    """Leave the claim where the pool's main process finds it, should this process be killed."""
    note = note_of(task_id)
    unfinished = note.with_name(note.name + ".new")
    unfinished.write_text(json.dumps(asdict(claim)))
    unfinished.replace(note)  # whoever is killed leaves a whole note or none
    try:
        yield
    finally:
        note.unlink(missing_ok=True)


def note_of(task_id: str) -> Path:
    return Path(settings.TEMPORARY) / f"claim-{task_id}"


def record_death(task_id: str, reason: str) -> None:
    """Called by the main process: the child that ran this task is gone. No need to wait for its lease."""
    note = note_of(task_id)
    try:
        fields = json.loads(note.read_text())
    except FileNotFoundError:
        return
    claim = Claim(**{**fields, "kind": JobKind(fields["kind"])})
    _failed(claim, reason, retry_in=patience(claim))
    note.unlink(missing_ok=True)


def _subject(claim: Claim) -> str:
    return ",".join(f"{name}={value}" for name, value in claim.ids.items())
