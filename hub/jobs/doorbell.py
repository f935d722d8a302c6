"""The doorbell: tells a waiting worker that there is something to claim. Lost, doubled or late, it changes
nothing.
"""

import logging
import time
from functools import partial

from django.conf import settings
from django.db import transaction
from kombu.exceptions import OperationalError

from hub.celery import app
from hub.jobs.models import Job

QUIET_AFTER_FAILURE = 30.0
log = logging.getLogger(__name__)
_quiet_until = 0.0


def ring_after_commit(job: Job) -> None:
    """Ring once the current transaction is in the database. Without a broker the workers' poller finds the
    job alone.
    """
    if settings.REDIS_URL:
        transaction.on_commit(partial(_ring, job.pk, kind=job.kind, queue=job.queue), robust=True)


def _ring(job_id: int, *, kind: str, queue: str) -> None:
    """Never raises. After a failure it stays silent for a while, so that a frozen broker delays one request,
    not all.
    """
    global _quiet_until  # noqa: PLW0603  one clock per process
    if time.monotonic() < _quiet_until:
        return
    try:
        app.send_task(kind, args=[job_id], queue=queue, retry=False, ignore_result=True)
    except (OperationalError, OSError) as error:
        _quiet_until = time.monotonic() + QUIET_AFTER_FAILURE
        log.warning("the broker cannot be reached (%s); job %s waits for a worker's sweep", error, job_id)
