"""A lease that is lost in the middle of a database call: the work stops, and the next job finds a database."""

import logging
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from tests.workers.live import LiveHub
from workers.claiming import Duty, attempt

QUESTIONS = 100_000  # more than can be asked in the time of a lease
LONG_AGO = timedelta(days=1)


def asks_for_ever_while_its_job_is_taken(claim: Claim) -> None:
    Job.objects.filter(pk=claim.job_id).update(lease_until=timezone.now() - LONG_AGO)
    assert jobs.claim(queues=["io"], job_id=claim.job_id) is not None
    for number in range(QUESTIONS):
        with transaction.atomic():
            Job.objects.filter(pk=number).exists()
    raise AssertionError("nobody stopped it")


def test_work_is_stopped_within_a_database_call_and_the_connection_is_forgotten(
    either_hub: LiveHub, caplog: pytest.LogCaptureFixture
) -> None:
    lost = jobs.enqueue(JobKind.PROMOTE, library_id=1)
    duties = {JobKind.PROMOTE: Duty(asks_for_ever_while_its_job_is_taken, 60)}

    with caplog.at_level(logging.INFO):
        attempt(lost.pk, task_id="here", duties=duties)

    assert "lost to another worker" in caplog.text
    assert not connection.in_atomic_block
    lost.refresh_from_db()
    assert (lost.state, lost.attempt, lost.crashes) == ("running", 2, 0)
