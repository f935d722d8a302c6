"""A real worker process, fed from the job table alone: whatever one job does, the others get done."""

import os
import signal
import sqlite3
from contextlib import closing

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from hub.accounts.models import User
from hub.adapters.models import Adapter, Commit, Release
from hub.downloads import services as downloads
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobEvent, JobKind
from tests.workers import poison
from tests.workers.live import LiveHub, kill_group, wait_for

pytestmark = pytest.mark.long(8)
APP = "tests.workers.poison_app"


def ask(*subjects: int, kind: JobKind = JobKind.PROMOTE) -> list[Job]:
    """PROMOTE may take two seconds in the dangerous worker, INDEX a minute."""
    return [jobs.enqueue(kind, library_id=subject) for subject in subjects]


def unsettled() -> int:
    return Job.objects.filter(state__in=["queued", "running"]).count()


def state_of(job: Job) -> str:
    job.refresh_from_db()
    return job.state


def freeze_between_writes(hub: LiveHub, group: int) -> None:
    """Stop every process of the group at a moment when none holds SQLite's lock, which they would keep."""
    with closing(sqlite3.connect(hub.folder / "hub.sqlite3", timeout=0, isolation_level=None)) as database:

        def frozen() -> bool:
            os.killpg(group, signal.SIGSTOP)
            try:
                database.execute("BEGIN IMMEDIATE")
                database.execute("ROLLBACK")
            except sqlite3.OperationalError:
                os.killpg(group, signal.SIGCONT)
                return False
            return True

        wait_for(frozen, hub.log)


@pytest.mark.long(20)
def test_poison_fails_after_the_cap_while_the_others_finish(hub: LiveHub) -> None:
    suicide, hang, stubborn, bug, hopeless, once = ask(*range(poison.SUICIDE, poison.SLOW))
    fine = ask(*range(poison.FINE, poison.FINE + 20))

    with hub.worker(app=APP):
        wait_for(lambda: unsettled() == 0, hub.log, seconds=90)

    assert [state_of(job) for job in fine] == ["done"] * 20
    assert all(job.log == "it is done\n" for job in fine)
    assert [state_of(job) for job in (suicide, hang, stubborn, bug, hopeless)] == ["failed"] * 5
    assert [job.crashes for job in (suicide, hang, stubborn, bug, hopeless)] == [3, 3, 3, 3, 1]
    assert "died" in suicide.error
    # said by the process itself, or by its parent where that did not wait for it
    assert "took longer" in stubborn.error or "did not stop at its time limit" in stubborn.error
    assert hopeless.error == "the base is not there"
    assert (state_of(once), once.attempt) == ("done", 2)
    assert not list((hub.folder / "tmp").glob("claim-*"))


def downloaded() -> Adapter:
    """An adapter that somebody fetched today."""
    ada, now = User.objects.create_user("ada"), timezone.now()
    adapter = Adapter.objects.create(owner=ada, name="poetry", name_key="poetry")
    commit = Commit.objects.create(
        adapter=adapter, oid="1" * 40, tree_oid="2" * 40, author=ada, message="", created_at=now
    )
    release = Release.objects.create(commit=commit, adapter=adapter, number=1)
    downloads.record(release=release, visitor=AnonymousUser(), address="192.0.2.1")
    return adapter


def test_an_idle_worker_adds_downloads_up_and_begins_a_job_within_a_moment(hub: LiveHub) -> None:
    poetry = Adapter.objects.filter(pk=downloaded().pk)

    with hub.worker(app=APP) as worker:
        hub.wait_until_alive(worker)
        (job,) = ask(poison.FINE)
        wait_for(lambda: state_of(job) == "done", hub.log, seconds=10)
        wait_for(poetry.filter(downloads=1).exists, hub.log, seconds=10)


def test_a_job_whose_whole_worker_was_killed_is_done_by_the_next_one(hub: LiveHub) -> None:
    (job,) = ask(poison.SLOW, kind=JobKind.INDEX)
    first = hub.start_worker(app=APP)
    wait_for(lambda: state_of(job) == "running", hub.log)
    kill_group(first)

    with hub.worker(app=APP):
        wait_for(lambda: state_of(job) == "done", hub.log)

    assert (job.attempt, job.crashes) == (2, 0)


def test_an_orderly_stop_gives_a_running_job_back_without_counting_it(hub: LiveHub) -> None:
    (job,) = ask(poison.STUBBORN_HANG, kind=JobKind.INDEX)
    worker = hub.start_worker(app="tests.workers.poison_impatient")
    wait_for(lambda: state_of(job) == "running", hub.log)

    worker.send_signal(signal.SIGQUIT)
    wait_for(lambda: worker.poll() is not None, hub.log, seconds=15)

    assert (state_of(job), job.attempt, job.crashes) == ("queued", 0, 0)
    assert job.events.filter(what=JobEvent.What.GIVEN_BACK).count() == 1


def test_a_worker_that_slept_past_its_lease_stops_its_work_and_records_nothing(hub: LiveHub) -> None:
    (job,) = ask(poison.SLOW, kind=JobKind.INDEX)
    sleeper = hub.start_worker(app=APP)
    wait_for(lambda: state_of(job) == "running", hub.log)
    freeze_between_writes(hub, sleeper.pid)
    with hub.worker(app=APP):
        wait_for(lambda: state_of(job) == "done", hub.log)
        os.killpg(sleeper.pid, signal.SIGCONT)
        wait_for(lambda: "lost to another worker" in hub.log.read_text(), hub.log)

    assert list(job.events.values_list("what", flat=True)) == ["claimed", "claimed", "done"]


def test_work_waits_until_the_schema_is_current(hub: LiveHub) -> None:
    newest = MigrationRecorder.Migration.objects.filter(app="jobs").latest("pk")
    newest.delete()
    (job,) = ask(poison.FINE)

    with hub.worker(app=APP) as worker:
        wait_for(lambda: "migrations are not applied" in hub.log.read_text(), hub.log)
        assert (state_of(job), job.attempt) == ("queued", 0)
        newest.save()
        wait_for(lambda: state_of(job) == "done", hub.log)
        assert worker.poll() is None


def test_children_that_are_replaced_never_share_the_pollers_connection(hub: LiveHub) -> None:
    """Every job here ends its process, so forks happen all the time while the poller reads."""
    many = ask(*range(poison.FINE, poison.FINE + 20))

    with hub.worker(app=APP, options=("--max-tasks-per-child=1",)):
        wait_for(lambda: unsettled() == 0, hub.log, seconds=120)

    assert [state_of(job) for job in many] == ["done"] * 20
    assert "malformed" not in hub.log.read_text()
    assert "locked" not in hub.log.read_text()
