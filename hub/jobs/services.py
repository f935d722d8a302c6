"""Asking for work, and the protocol by which workers do it: claim, heartbeat, then finish, fail or give back.

Leases run on the database's clock. The work itself happens outside any transaction.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Unpack, cast

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import (
    Case,
    DateTimeField,
    Exists,
    ExpressionWrapper,
    F,
    OuterRef,
    Q,
    QuerySet,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.functions import Concat, Now, Right

from hub.errors import Conflict, Fenced
from hub.jobs import doorbell
from hub.jobs.claims import Claim, Subject, hold
from hub.jobs.models import Job, JobEvent, JobKind, Queue
from hub.jobs.signals import job_failed, job_retried

MAX_CRASHES = 3  # attempts that the job itself ended
MAX_ATTEMPTS = 8  # attempts of any end: restarts of the host must not condemn an innocent job
LONGEST_LOG = 64_000
LONGEST_NOTE = 200

QUEUE_OF = {
    JobKind.INSPECT_BASE: Queue.IO,
    JobKind.VALIDATE: Queue.CPU,
    JobKind.VECTORS: Queue.GPU,
    JobKind.GATES: Queue.GPU,
    JobKind.INDEX: Queue.CPU,
    JobKind.PROMOTE: Queue.IO,
    JobKind.COMPOSE: Queue.GPU,
    JobKind.CLUSTER: Queue.CPU,
    JobKind.TRAIN_CLUSTER: Queue.GPU,
    JobKind.IMPORT: Queue.IO,
    JobKind.INTRODUCE: Queue.GPU,
    JobKind.FEED: Queue.IO,
    JobKind.EXPORT: Queue.IO,
    JobKind.MAIL: Queue.IO,
    JobKind.ABLATE: Queue.GPU,
    JobKind.READ_CARDS: Queue.GPU,
    JobKind.DESCRIBE: Queue.IO,
}
# Nobody's upload waits for these: claimed when nothing else is due.
PATIENT = (JobKind.CLUSTER, JobKind.INTRODUCE, JobKind.ABLATE, JobKind.READ_CARDS, JobKind.DESCRIBE)


@transaction.atomic
def enqueue(kind: JobKind, *, wait: timedelta = timedelta(), **ids: Unpack[Subject]) -> Job:
    """Ask for work in the caller's transaction; a job for the same subject that nobody has begun serves both
    askers. It is begun after `wait` at the earliest, so that what is asked for often is done once.

    That job is locked until commit: nobody can claim it before what the caller wrote is visible to the
    claimer. The caller locks the rows it changes before it asks, never after (see `claims.hold`).
    """
    key = key_of(kind, ids)
    while True:
        waiting = Job.objects.select_for_update(no_key=True).filter(key=key, state=Job.State.QUEUED).first()
        if waiting is not None:
            return waiting
        try:
            with transaction.atomic():
                job = Job.objects.create(
                    kind=kind, subject=ids, key=key, queue=QUEUE_OF[kind], not_before=from_now(wait)
                )
        except IntegrityError:
            continue  # somebody asked for the same at this moment: share theirs
        doorbell.ring_after_commit(job)
        return job


def key_of(kind: JobKind, ids: Subject) -> str:
    """Kind and subject in one string, for example `workers.index:library_id=3`."""
    return kind.value + ":" + ",".join(f"{name}={value}" for name, value in sorted(ids.items()))


def due(queues: Sequence[str]) -> QuerySet[Job]:
    """Jobs that may be claimed now: waiting ones, and running ones whose worker stopped renewing its
    lease.
    """
    busy = Job.objects.filter(key=OuterRef("key"), state=Job.State.RUNNING, lease_until__gt=Now())
    waiting = Q(state=Job.State.QUEUED, not_before__lte=Now())
    abandoned = Q(state=Job.State.RUNNING, lease_until__lte=Now())
    patient = Case(When(kind__in=PATIENT, then=1), default=0)
    found = Job.objects.filter(waiting | abandoned, ~Exists(busy), queue__in=queues)
    return found.order_by(patient, "not_before", "id")


def claim(*, queues: Sequence[str], job_id: int | None = None) -> Claim | None:
    """Take the next due job, or the named one if it is due. None when there is nothing to do."""
    while True:
        candidates = due(queues) if job_id is None else due(queues).filter(pk=job_id)
        if not candidates.exists():  # outside a transaction: on SQLite that would take the write lock
            return None
        with transaction.atomic():
            job = candidates.select_for_update(skip_locked=True, of=("self",), no_key=True).first()
            if job is None:
                return None
            if job.attempt < MAX_ATTEMPTS:
                return _take(job)
            _settle_failed(
                job, f"given up after {job.attempt} attempts whose workers disappeared. {job.error}".strip()
            )


def heartbeat(claim: Claim) -> None:
    """Renew the lease. Raises Fenced when the job is somebody else's now: stop the work."""
    _update(claim, lease_until=from_now(settings.LEASE))


def report_progress(claim: Claim, done: int, total: int, note: str = "") -> None:
    """Say how far the work is. Raises Fenced."""
    _update(claim, progress_done=done, progress_total=total, progress_note=note[:LONGEST_NOTE])


def log(claim: Claim, line: str) -> None:
    """Add a line to the job's log, of which the end is kept. Raises Fenced."""
    grown = Concat(F("log"), Value(line.rstrip() + "\n"), output_field=TextField())
    _update(claim, log=Right(grown, LONGEST_LOG))


@transaction.atomic
def finish(claim: Claim) -> None:
    """The work is done and recorded. Raises Fenced."""
    _settle(hold(claim), Job.State.DONE, JobEvent.What.DONE)


@transaction.atomic
def fail(claim: Claim, error: str, *, retry_in: timedelta | None = None) -> None:
    """This attempt ended badly. With `retry_in` it is tried again, up to the cap on crashes. Raises
    Fenced.
    """
    job = hold(claim)
    job.crashes += 1
    job.error = error or "no reason was given"
    if retry_in is None or job.crashes >= MAX_CRASHES:
        _settle_failed(job, job.error)
    else:
        _requeue(job, JobEvent.What.CRASHED, wait=retry_in)


@transaction.atomic
def give_back(claim: Claim) -> None:
    """An orderly stop: the attempt does not count. Raises Fenced."""
    job = hold(claim)
    job.attempt -= 1
    _requeue(job, JobEvent.What.GIVEN_BACK, wait=timedelta())


@transaction.atomic
def retry(job: Job) -> Job:
    """Try a failed job again from the start, by an operator's wish. Raises Conflict."""
    failed = Job.objects.select_for_update(no_key=True).filter(pk=job.pk, state=Job.State.FAILED).first()
    if failed is None:
        raise Conflict(f"job {job.pk} is not failed, so there is nothing to retry")
    waiting = (
        Job.objects.select_for_update(no_key=True).filter(key=failed.key, state=Job.State.QUEUED).first()
    )
    if waiting is not None:
        return waiting
    Job.objects.filter(pk=failed.pk).update(
        state=Job.State.QUEUED, attempt=0, crashes=0, error="", finished_at=None, not_before=Now()
    )
    failed.refresh_from_db()
    JobEvent.objects.create(job=failed, what=JobEvent.What.RETRIED, token=failed.token)
    job_retried.send(sender=Job, job=failed)
    doorbell.ring_after_commit(failed)
    return failed


def _take(job: Job) -> Claim:
    Job.objects.filter(pk=job.pk).update(
        state=Job.State.RUNNING,
        token=F("token") + 1,
        attempt=F("attempt") + 1,
        lease_until=from_now(settings.LEASE),
        started_at=Now(),
        progress_done=0,
        progress_total=0,
        progress_note="",
    )
    job.refresh_from_db(fields=["token", "attempt"])
    JobEvent.objects.create(job=job, what=JobEvent.What.CLAIMED, token=job.token)
    return Claim(job.pk, JobKind(job.kind), cast("Subject", job.subject), job.token, job.attempt)


def _settle_failed(job: Job, error: str) -> None:
    job.error = error
    _settle(job, Job.State.FAILED, JobEvent.What.FAILED)
    job_failed.send(sender=Job, job=job)


def _settle(job: Job, state: Job.State, what: JobEvent.What) -> None:
    Job.objects.filter(pk=job.pk).update(
        state=state, lease_until=None, finished_at=Now(), crashes=job.crashes, error=job.error
    )
    JobEvent.objects.create(job=job, what=what, token=job.token, detail=job.error)


def _requeue(job: Job, what: JobEvent.What, *, wait: timedelta) -> None:
    """Back to the queue; where the same was asked for again meanwhile, that job takes over."""
    if Job.objects.select_for_update(no_key=True).filter(key=job.key, state=Job.State.QUEUED).exists():
        _settle(job, Job.State.DONE, JobEvent.What.SUPERSEDED)
        return
    Job.objects.filter(pk=job.pk).update(
        state=Job.State.QUEUED,
        lease_until=None,
        attempt=job.attempt,
        crashes=job.crashes,
        error=job.error,
        not_before=from_now(wait),
    )
    JobEvent.objects.create(job=job, what=what, token=job.token, detail=job.error)
    doorbell.ring_after_commit(job)


def _update(claim: Claim, **fields: object) -> None:
    ours = Job.objects.filter(pk=claim.job_id, token=claim.token, state=Job.State.RUNNING)
    if not ours.update(**fields):
        raise Fenced(f"job {claim.job_id} is no longer ours (token {claim.token}); stop the work")


def from_now(wait: timedelta) -> Combinable:
    """A time on the database's clock.

    SQLite compares times as text, and writes a sum with more digits than its clock: so no wait is no sum,
    or the result would lie in the future until the next millisecond.
    """
    return ExpressionWrapper(Now() + wait, output_field=DateTimeField()) if wait else Now()
