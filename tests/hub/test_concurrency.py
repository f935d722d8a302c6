"""Many at once: real connections in threads, against the database that is configured."""

import io
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection, connections
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from hub.accounts.models import User
from hub.adapters import services as adapters
from hub.adapters.models import Adapter, Release, ReleaseEvent
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.downloads import services as downloads
from hub.errors import Fenced
from hub.indexes import queries
from hub.indexes import services as indexes
from hub.indexes.models import IndexVersion
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobEvent, JobKind, Queue
from hub.library.models import Library
from hub.operations import checker, garbage
from tests.hub import making

pytestmark = pytest.mark.django_db(transaction=True)
T = TypeVar("T")


def all_at_once(works: list[Callable[[], T]]) -> list[T]:
    """Start together, each in a thread with a connection of its own."""
    barrier = threading.Barrier(len(works))

    def run(work: Callable[[], T]) -> T:
        try:
            barrier.wait(timeout=30)
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def test_each_job_is_claimed_by_one_of_many_workers() -> None:
    for number in range(30):
        jobs.enqueue(JobKind.VALIDATE, release_id=number)

    def worker() -> list[int]:
        mine = []
        while (claim := jobs.claim(queues=Queue.values)) is not None:
            mine.append(claim.job_id)
            jobs.finish(claim)
        return mine

    claimed = [job for mine in all_at_once([worker] * 8) for job in mine]
    # SKIP LOCKED may show a worker an empty table while others hold the rest: what is left is claimed next
    claimed += worker()

    assert sorted(claimed) == sorted(Job.objects.values_list("pk", flat=True))
    assert JobEvent.objects.filter(what="claimed").count() == 30


def test_asking_for_the_same_from_many_connections_is_one_job() -> None:
    def ask() -> int:
        return jobs.enqueue(JobKind.INDEX, library_id=7).pk

    assert len(set(all_at_once([ask] * 10))) == 1


def test_identical_uploads_at_once_are_one_release_and_equal_answers() -> None:
    place, owner = making.library(), making.user()
    files = [making.staged({**making.PLAIN, "same.txt": b"same"}) for _ in range(8)]

    def send(number: int) -> str:
        release = adapters.receive_upload(owner=owner, library=place, name="poetry", files=files[number])
        return release.oid

    answers = all_at_once([lambda number=number: send(number) for number in range(8)])  # type: ignore[misc]

    assert len(set(answers)) == 1
    assert (Adapter.objects.count(), Release.objects.count()) == (1, 1)
    assert ReleaseEvent.objects.count() == 1
    assert Job.objects.filter(kind=JobKind.VALIDATE).count() == 1


def test_different_uploads_to_one_adapter_at_once_are_a_chain_of_releases() -> None:
    place, owner = making.library(), making.user()

    def send(number: int) -> int:
        return making.upload(owner, place, files={"n.txt": str(number).encode()}).number

    numbers = all_at_once([lambda number=number: send(number) for number in range(8)])  # type: ignore[misc]

    assert sorted(numbers) == list(range(1, 9))
    assert Release.objects.filter(commit__parent=None).count() == 1
    assert list(checker.commits_are_what_they_say()) == []


def expert(owner: User, place: Library, number: int) -> Release:
    """A release that is one recorded step before ready."""
    release = making.upload(owner, place, f"a{number}")
    claim = making.take(JobKind.VALIDATE)
    adapters.record_report(claim, release.pk, [])
    jobs.finish(claim)
    return release


def test_fifty_experts_that_become_ready_at_once_give_versions_without_a_gap() -> None:
    place, owner = making.library(), making.user()
    claims = {expert(owner, place, number).pk: making.take(JobKind.VECTORS) for number in range(50)}

    def worker(mine: list[int]) -> None:
        """Record vectors, and publish whatever there is to publish, as many workers do side by side."""
        for release_id in mine:
            becomes_ready(claims[release_id], release_id)
            while (claim := jobs.claim(queues=Queue.values)) is not None:
                if (
                    claim.kind == JobKind.INDEX
                    and (version := indexes.plan_version(claim, place.pk)) is not None
                ):
                    indexes.record_published(claim, version.pk, f"{version.number:064x}", 1)
                jobs.finish(claim)

    all_at_once([lambda mine=list(claims)[group::10]: worker(mine) for group in range(10)])  # type: ignore[misc]
    worker([])

    versions = list(IndexVersion.objects.order_by("number"))
    assert [version.number for version in versions] == list(range(1, len(versions) + 1))
    assert all(version.status == "published" for version in versions)
    counts = [version.expert_count for version in versions]
    assert counts == sorted(set(counts))
    assert counts[-1] == len(queries.experts(versions[-1])) == 50
    assert list(checker.versions_are_contiguous()) == []
    place.refresh_from_db()
    assert place.current == versions[-1]


def becomes_ready(claim: Claim, release_id: int) -> None:
    adapters.record_vectors(
        claim,
        release_id,
        vectors_digest=f"{release_id:064x}",
        vectors_size=1,
        factors_digest=f"{release_id:064x}",
        factors_size=1,
        statistics={},
        fingerprint=b"",
    )
    jobs.finish(claim)


def test_a_zombie_that_wakes_while_its_successor_records_is_fenced() -> None:
    place = making.library()
    release = making.upload(making.user(), place)
    zombie = making.take(JobKind.VALIDATE)
    Job.objects.filter(pk=zombie.job_id).update(lease_until=Now() - timedelta(seconds=1))
    successor = making.take(JobKind.VALIDATE)

    def record(claim: Claim) -> str:
        try:
            return "recorded" if adapters.record_report(claim, release.pk, []) else "was recorded"
        except Fenced:
            return "fenced"

    assert all_at_once([lambda: record(zombie), lambda: record(successor)]) == ["fenced", "recorded"]
    assert ReleaseEvent.objects.filter(what="validated").count() == 1


def test_workers_that_add_up_beside_downloads_lose_none() -> None:
    place, owner = making.library(), making.user()
    releases = [
        making.upload(owner, place, f"a{number % 2}", {"n.txt": b"%d" % number}) for number in range(4)
    ]
    fetching = threading.Semaphore(0)

    def add_up() -> None:
        while not fetching.acquire(blocking=False):
            downloads.add_up()

    def fetch(visitor: int) -> None:
        try:
            for number in range(15):
                for release in releases:
                    address = f"10.0.{visitor}.{number}"
                    downloads.record(release=release, visitor=AnonymousUser(), address=address)
        finally:
            fetching.release()

    all_at_once([add_up, add_up, lambda: fetch(1), lambda: fetch(2)])
    downloads.add_up()

    assert list(Adapter.objects.values_list("downloads", "downloads_all_time")) == [(60, 60)] * 2
    assert list(checker.downloads_add_up()) == []


def test_collecting_garbage_beside_uploads_of_the_same_bytes_loses_nothing() -> None:
    place, owner = making.library(), making.user()
    contents = [f"old bytes {number}".encode() for number in range(20)]
    for content in contents:
        blobs.store(io.BytesIO(content))
    Blob.objects.update(stored_at=Now() - timedelta(days=2))
    stop = threading.Event()

    def collect() -> int:
        removed = 0
        while not stop.is_set():
            removed += len(list(garbage.collect(timedelta(hours=1))))
        return removed

    def send(worker: int) -> int:
        try:
            for number, content in enumerate(contents):
                making.upload(owner, place, f"w{worker}-{number}", {"old.txt": content})
        finally:
            if worker == 0:
                stop.set()
        return 0

    all_at_once([collect, *(lambda worker=worker: send(worker) for worker in range(3))])

    assert list(checker.blobs_are_there()) == []
    assert all(blobs.storage().has(blob.sha256) for blob in Blob.objects.all())
    assert Release.objects.count() == 60


@pytest.mark.skipif(not connection.features.has_select_for_update, reason="SQLite has one writer at a time")
def test_jobs_are_locked_after_the_rows_that_they_are_about() -> None:
    """In one order everywhere, so that no two transactions can wait for each other."""
    place, owner = making.library(), making.user()
    with CaptureQueriesContext(connection) as everything:
        making.ready(owner, place, "first")
        making.publish(place)
        making.gate(making.ready(owner, place, "second"))
        making.publish(place)

    orders = list(lock_orders(query["sql"] for query in everything))
    assert ["adapters_release", "library_library", "search_entry", "jobs_job", "jobs_job"] in orders
    for order in orders:
        assert order == sorted(order, key="jobs_job".__eq__)


def lock_orders(statements: Iterable[str]) -> Iterator[list[str]]:
    """The tables whose rows each transaction locked, in its order; who locks the same again locks nothing new."""
    order: list[str] = []
    held: set[str] = set()
    for statement in statements:
        if statement == "COMMIT":
            yield order
            order, held = [], set()
        elif found := re.match(r'SELECT .*? FROM "(\w+)".* FOR (?:NO KEY )?UPDATE', statement):
            if statement not in held:
                order.append(found[1])
            held.add(statement)
