"""Uploads while worker processes are killed and Redis is lost: each reaches its one end, once."""

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.plugin import DjangoDbBlocker

from hub.adapters.models import Release
from hub.jobs.models import Job, JobEvent
from tests.end_to_end.conftest import own_redis, own_server
from tests.end_to_end.hub_process import free_port
from tests.tiny import tiny_adapter, tiny_gpt2
from tests.workers.live import LiveHub, kill_group, live_hub, wait_for
from tests.workers.soundness import complaints
from tests.workers.uploading import ready_library, upload
from workers import places

KILLING_SECONDS = 20.0
MOST_CHILD_KILLS = 2  # three deaths of its own process condemn a job, and these jobs are innocent


@pytest.fixture(params=["sqlite", pytest.param("postgresql and redis", marks=pytest.mark.services)])
def hub(
    request: pytest.FixtureRequest, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[LiveHub]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(django_db_blocker.unblock())
        embedded = request.param == "sqlite"
        url = None if embedded else request.getfixturevalue("postgresql")
        redis = None if embedded else stack.enter_context(own_redis(tmp_path))
        yield stack.enter_context(live_hub(tmp_path / "data", database_url=url, redis_url=redis))


def uploads(folder: Path, *, good: int, bad: int) -> dict[int, str]:
    """{release id: the status that it must reach}."""
    library = ready_library()
    expected = {}
    for number in range(good):
        name = f"good-{number}"
        adapter = tiny_adapter(folder / name, rank=1 + number % 3, seed=number, layers=[number % 2])
        expected[upload(library, adapter, name=name).pk] = "ready"
    for number in range(bad):
        name = f"bad-{number}"
        adapter = tiny_adapter(folder / name, tiny_gpt2(), seed=number)
        expected[upload(library, adapter, name=name, owner="bob").pk] = "rejected"
    return expected


def stopped_at_work(group: int) -> bool:
    """Whether its processes, which stand still from then on, have a job to do."""
    os.killpg(group, signal.SIGSTOP)
    at_work = Job.objects.filter(state="running").exists()
    if not at_work:
        os.killpg(group, signal.SIGCONT)
    return at_work


def all_settled() -> bool:
    return not Job.objects.filter(state__in=["queued", "running"]).exists()


def children_of(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(word) for word in listed.stdout.split()]


@pytest.mark.slow
@pytest.mark.long(60)
def test_every_upload_reaches_its_one_end_under_random_sigkills(hub: LiveHub, tmp_path: Path) -> None:
    expected = uploads(tmp_path, good=9, bad=3)
    dice = random.Random(7)
    child_kills = 0
    worker = hub.start_worker()
    last_moment = time.monotonic() + KILLING_SECONDS
    while time.monotonic() < last_moment and not all_settled():
        hub.wait_until_alive(worker)
        time.sleep(dice.uniform(0.2, 2.0))
        children = children_of(worker.pid)
        if children and child_kills < MOST_CHILD_KILLS and dice.random() < 0.3:
            child_kills += 1
            with contextlib.suppress(ProcessLookupError):
                os.kill(dice.choice(children), signal.SIGKILL)
            continue
        if dice.random() < 0.3:
            os.kill(worker.pid, signal.SIGKILL)  # its children end with it
        kill_group(worker)
        worker = hub.start_worker()
    kill_group(worker)

    with hub.worker():
        wait_for(all_settled, hub.log, seconds=90)

    assert {release.pk: release.status for release in Release.objects.all()} == expected
    assert complaints() == []
    claims = JobEvent.objects.filter(what=JobEvent.What.CLAIMED).count()
    assert claims > Job.objects.count(), "no kill hit any work"
    assert places.index_store().current("tiny") is not None


@pytest.mark.long(40)
@pytest.mark.services
def test_losing_a_worker_and_then_redis_with_everything_in_it_costs_only_delay(
    postgresql: str, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    port = free_port()
    place = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(tmp_path))
    command = ["redis-server", *place, "--save", ""]
    url = f"redis://127.0.0.1:{port}/0"
    with (
        django_db_blocker.unblock(),
        live_hub(tmp_path / "data", database_url=postgresql, redis_url=url) as hub,
    ):
        with own_server(command, port):
            expected = uploads(tmp_path, good=4, bad=1)
            killed = hub.start_worker()
            wait_for(lambda: stopped_at_work(killed.pid), hub.log)
            kill_group(killed)
            under_way = set(Job.objects.filter(state="running").values_list("pk", flat=True))
            worker = hub.start_worker()
            hub.wait_until_alive(worker)
        time.sleep(2.0)  # dead, with all that it held
        assert worker.poll() is None
        with own_server(command, port):
            wait_for(all_settled, hub.log, seconds=90)
            assert worker.poll() is None

        assert {release.pk: release.status for release in Release.objects.all()} == expected
        assert complaints() == []
        assert under_way
        assert all(job.attempt > 1 for job in Job.objects.filter(pk__in=under_way))
        assert places.index_store().current("tiny") is not None
