"""The job protocol: one claimant at a time, by the database's clock, and nothing recorded by who lost its claim."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from pytest_django import Settings

from hub import celery
from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.errors import Conflict, Fenced
from hub.indexes import services as indexes
from hub.indexes.models import IndexVersion
from hub.jobs import doorbell, services
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobEvent, JobKind, Queue
from hub.library import services as libraries
from tests.hub import making

pytestmark = pytest.mark.django_db
ALL = Queue.values


def claimed() -> Claim:
    claim = services.claim(queues=ALL)
    assert claim is not None
    return claim


def lose_the_lease(claim: Claim) -> None:
    Job.objects.filter(pk=claim.job_id).update(lease_until=Now() - timedelta(seconds=1))


def make_due(claim: Claim) -> None:
    Job.objects.filter(pk=claim.job_id).update(not_before=Now() - timedelta(seconds=1))


def test_asking_twice_for_the_same_before_anybody_began_is_one_job() -> None:
    one = services.enqueue(JobKind.INDEX, library_id=1)
    two = services.enqueue(JobKind.INDEX, library_id=1)
    other = services.enqueue(JobKind.INDEX, library_id=2)

    assert one == two
    assert other != one


def test_asking_while_the_same_is_running_queues_one_more() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    claimed()

    services.enqueue(JobKind.INDEX, library_id=1)
    services.enqueue(JobKind.INDEX, library_id=1)

    assert Job.objects.filter(state="queued").count() == 1


def test_two_jobs_about_one_subject_never_run_at_once() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    first = claimed()
    services.enqueue(JobKind.INDEX, library_id=1)

    assert services.claim(queues=ALL) is None
    services.finish(first)
    assert services.claim(queues=ALL) is not None


def test_the_database_itself_refuses_two_waiting_jobs_about_one_subject() -> None:
    job = services.enqueue(JobKind.INDEX, library_id=1)

    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.create(kind=job.kind, key=job.key, subject=job.subject, queue=job.queue)


def test_a_claim_takes_the_oldest_due_job_of_its_queues() -> None:
    services.enqueue(JobKind.VECTORS, release_id=1)
    index = services.enqueue(JobKind.INDEX, library_id=1)

    claim = services.claim(queues=[Queue.CPU])

    assert claim is not None
    assert (claim.job_id, claim.kind, claim.ids) == (index.pk, JobKind.INDEX, {"library_id": 1})


def test_a_named_job_is_claimed_only_when_it_is_due() -> None:
    job = services.enqueue(JobKind.INDEX, library_id=1)

    assert services.claim(queues=ALL, job_id=job.pk + 1) is None
    assert services.claim(queues=ALL, job_id=job.pk) is not None
    assert services.claim(queues=ALL, job_id=job.pk) is None


def test_a_job_whose_worker_vanished_is_taken_over_with_a_higher_token() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    lost = claimed()
    lose_the_lease(lost)

    new = claimed()

    assert new.job_id == lost.job_id
    assert new.token > lost.token


def test_a_heartbeat_keeps_the_job() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    claim = claimed()
    lose_the_lease(claim)
    services.heartbeat(claim)

    assert services.claim(queues=ALL) is None


RECORDS: list[Callable[[Claim, IndexVersion, Release], object]] = [
    lambda claim, *_: services.heartbeat(claim),
    lambda claim, *_: services.finish(claim),
    lambda claim, *_: services.give_back(claim),
    lambda claim, *_: services.fail(claim, "x"),
    lambda claim, *_: services.log(claim, "x"),
    lambda claim, *_: services.report_progress(claim, 1, 2),
    lambda claim, _, release: adapters.record_report(claim, release.pk, []),
    lambda claim, version, _: indexes.plan_version(claim, version.library_id),
    lambda claim, version, _: indexes.record_published(claim, version.pk, "0" * 64, 1),
]


@pytest.mark.parametrize("record", RECORDS)
def test_who_lost_the_claim_records_nothing(
    record: Callable[[Claim, IndexVersion, Release], object],
) -> None:
    place = making.library()
    release = making.ready(making.user(), place)
    zombie = making.take(JobKind.INDEX)
    planned = making.planned(zombie, place)
    lose_the_lease(zombie)
    claimed()

    with pytest.raises(Fenced):
        record(zombie, planned, release)

    planned.refresh_from_db()
    assert planned.status == "planned"
    assert Release.objects.get().status == "ready"
    assert Job.objects.get(pk=zombie.job_id).state == "running"


@pytest.mark.parametrize(
    "end", [services.finish, services.give_back, lambda claim: services.fail(claim, "x")]
)
def test_a_job_ends_once(end: Callable[[Claim], None]) -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    claim = claimed()
    end(claim)

    with pytest.raises(Fenced):
        end(claim)


def test_a_job_that_kills_its_worker_fails_after_three_times() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    for _ in range(3):
        claim = claimed()
        services.fail(claim, "killed by signal 9", retry_in=timedelta())

    job = Job.objects.get()
    assert (job.state, job.crashes, job.error) == ("failed", 3, "killed by signal 9")
    assert services.claim(queues=ALL) is None


def test_a_retry_waits_as_long_as_it_was_told() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    claim = claimed()
    services.fail(claim, "busy", retry_in=timedelta(hours=1))
    assert services.claim(queues=ALL) is None

    make_due(claim)

    assert services.claim(queues=ALL) is not None


def test_a_job_whose_workers_vanish_eight_times_fails() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    for _ in range(8):
        lose_the_lease(claimed())

    assert services.claim(queues=ALL) is None
    assert Job.objects.get().state == "failed"
    assert "8 attempts" in Job.objects.get().error


def test_an_orderly_stop_does_not_count_as_an_attempt() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    for _ in range(20):
        services.give_back(claimed())

    assert Job.objects.get().state == "queued"
    assert claimed().attempt == 1


def test_given_back_work_that_was_asked_for_again_is_done_once() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    claim = claimed()
    again = services.enqueue(JobKind.INDEX, library_id=1)
    services.give_back(claim)

    assert Job.objects.get(pk=claim.job_id).state == "done"
    assert claimed().job_id == again.pk


def test_a_failed_job_can_be_tried_again_from_the_start() -> None:
    job = services.enqueue(JobKind.INDEX, library_id=1)
    services.fail(claimed(), "no luck")

    services.retry(job)

    assert claimed().attempt == 1
    with pytest.raises(Conflict):
        services.retry(job)


def test_a_failed_inspection_fails_the_library_and_a_retry_takes_that_back() -> None:
    library = libraries.create_library(slug="x", base_source="/nowhere")
    services.fail(claimed(), "no such folder")
    library.refresh_from_db()
    assert library.status == "failed"

    services.retry(Job.objects.get())

    library.refresh_from_db()
    assert library.status == "received"


def test_the_log_keeps_its_end() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    claim = claimed()
    for number in range(70):
        services.log(claim, f"{number} " + "x" * 1000)

    log = Job.objects.get().log
    assert log.endswith("x\n")
    assert "\n69 x" in log
    assert len(log) == services.LONGEST_LOG


def test_every_transition_is_on_record() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    services.give_back(claimed())
    services.fail(claimed(), "x", retry_in=timedelta())
    services.finish(claimed())

    what = list(JobEvent.objects.values_list("what", flat=True))
    assert what == ["claimed", "given back", "claimed", "crashed", "claimed", "done"]


def test_the_lease_is_counted_on_the_clock_of_the_database() -> None:
    services.enqueue(JobKind.INDEX, library_id=1)
    claimed()

    job = Job.objects.annotate(left=F("lease_until") - Now()).get()

    assert timedelta(seconds=50) < job.left <= timedelta(seconds=61)


def test_a_broker_that_is_down_delays_nothing_and_loses_nothing(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Callable[..., object],
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(celery.app.conf, "broker_url", settings.REDIS_URL)
    monkeypatch.setattr(doorbell, "_quiet_until", 0.0)

    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        services.enqueue(JobKind.INDEX, library_id=1)

    assert doorbell._quiet_until > 0
    assert services.claim(queues=ALL) is not None


def test_the_doorbell_is_silent_without_a_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(celery.app, "send_task", lambda *_, **__: pytest.fail("rang"))

    services.enqueue(JobKind.INDEX, library_id=1)


def test_health_says_that_the_process_lives_and_can_work() -> None:
    assert Client().get("/healthz").content == b"ok\n"
    assert Client().get("/readyz").json() == {"database": "ok", "blobs": "ok"}
