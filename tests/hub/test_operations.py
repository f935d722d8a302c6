"""The operator's commands, as they are typed."""

import io
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db.models.functions import Now

from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.adapters.models import Adapter, Ref, Release, ReleaseEvent
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.indexes.models import ComposedCheckpoint, IndexVersion
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.library.models import Library
from hub.library.policy import Policy
from hub.operations import garbage
from hub.operations.following import follow
from tests.hub import making

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = io.StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def test_a_library_is_founded_on_a_folder_by_its_full_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base").mkdir()

    run("create_library", "tiny", "./base", "--top-k", "2")
    again = run("create_library", "tiny", "base")

    library = Library.objects.get()
    assert library.base_source == str(tmp_path / "base")
    assert library.policy == {**Policy().model_dump(mode="json"), "top_k": 2}
    assert "already" in again
    assert Job.objects.get().kind == JobKind.INSPECT_BASE


BAD = [
    (["create_library", "Tiny", "org/name"], "no name for a library"),
    (["create_library", "tiny", "./nowhere"], "no folder"),
    (["create_library", "tiny", "org/name", "--top-k", "0"], "top_k is 0"),
    (["create_library", "tiny", "org/name", "--maintainer", "nobody"], "no user nobody"),
    (["create_token", "nobody"], "no user nobody"),
    (["create_user", "api"], "reserved"),
    (["promote", "none", "1"], "no library none"),
    (["roll_back", "none"], "no library none"),
    (["reindex", "none"], "no library none"),
    (["retry_job", "77"], "no job"),
    (["retry_job"], "name a job"),
    (["quarantine", "a/b", "--reason", "x"], "no adapter a/b"),
]


@pytest.mark.parametrize(("words", "sentence"), BAD)
def test_what_cannot_be_done_is_said_in_a_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        run(*words)


def test_a_user_and_a_token_that_works() -> None:
    assert "password" in run("create_user", "Ada")
    secret = run("create_token", "ada", "--scope", "read", "--days", "1").strip()

    token = accounts.authenticate(secret)
    assert token.user == User.objects.get(username="ada")
    assert token.expires_at is not None


def test_failed_jobs_are_listed_with_their_reason_and_tried_again() -> None:
    jobs.enqueue(JobKind.INDEX, library_id=1)
    jobs.fail(making.take(JobKind.INDEX), "out of memory")

    assert "out of memory" in run("list_jobs", "--state", "failed", "--kind", "index")
    run("retry_job", "--all")

    assert Job.objects.get().state == "queued"


def test_promote_roll_back_reindex_and_quarantine() -> None:
    place, owner = making.library(), making.user()
    making.ready(owner, place, "a")
    making.publish(place)
    bad = making.ready(owner, place, "b")
    making.publish(place)

    assert "tiny@1" in run("roll_back", "tiny")
    assert "tiny@2" in run("promote", "tiny", "2")
    assert "quarantine" in run("quarantine", "ada/b", "--reason", "a trigger")
    with pytest.raises(CommandError, match="quarantine"):
        run("promote", "tiny", "2")
    run("quarantine", "ada/b", "--restore")
    bad.refresh_from_db()
    assert bad.quarantined_at is None
    assert "index" in run("reindex", "tiny")


def test_following_a_job_that_fails_says_why() -> None:
    place = making.library()
    job = jobs.enqueue(JobKind.INDEX, library_id=place.pk)
    claim = making.take(JobKind.INDEX)
    jobs.fail(claim, "no luck")
    job.refresh_from_db()

    with pytest.raises(CommandError, match="no luck"):
        follow(job, say=lambda _: None)


def forgotten(content: bytes) -> Blob:
    """A blob that nothing names, brought two days ago."""
    blob = blobs.store(io.BytesIO(content))
    Blob.objects.filter(pk=blob.pk).update(stored_at=Now() - timedelta(days=2))
    return blob


def test_garbage_is_shown_first_and_removed_only_when_asked() -> None:
    named = making.upload(making.user(), making.library()).commit.files.count()
    old, young = forgotten(b"old"), blobs.store(io.BytesIO(b"young"))

    shown = run("collect_garbage")
    assert old.sha256 in shown
    assert "nothing was removed" in shown
    assert blobs.storage().has(old.sha256)

    run("collect_garbage", "--delete")

    assert not blobs.storage().has(old.sha256)
    assert blobs.storage().has(young.sha256)
    assert Blob.objects.count() == named + 1


def test_bytes_without_a_row_are_garbage_once_they_are_old() -> None:
    blob = blobs.store(io.BytesIO(b"orphan"))
    Blob.objects.all().delete()
    path = blobs.local_path(blob.sha256)
    assert "0 things" in run("collect_garbage")
    two_days_ago = time.time() - 2 * 86400
    os.utime(path, (two_days_ago, two_days_ago))

    run("collect_garbage", "--delete")

    assert not path.exists()


def test_bytes_that_a_collector_adopted_are_an_ordinary_blob_when_they_are_brought_again() -> None:
    blob = blobs.store(io.BytesIO(b"orphan"))
    Blob.objects.update(git_oid="")  # as a collector leaves it that is killed between adopting and removing

    again = blobs.store(io.BytesIO(b"orphan"))

    assert again.git_oid == Blob.objects.get().git_oid == blob.git_oid


def test_an_expired_checkpoint_goes_with_its_bytes(tmp_path: Path) -> None:
    place = making.library()
    making.ready(making.user(), place)
    version = making.publish(place)
    ComposedCheckpoint.objects.create(
        library=place, version=version, kind="routed", expires_at=version.published_at
    )

    run("collect_garbage", "--delete")

    assert not ComposedCheckpoint.objects.exists()


def index_object(content: str, digest: str, *, age: float = 0.0) -> Path:
    path = Path(settings.STORE_URL) / "objects" / digest[:2] / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_index_objects_that_a_version_reaches_stay_and_others_go() -> None:
    root, page, vectors, lost = ("1" * 64, "2" * 64, "3" * 64, "4" * 64)
    libraries = Path(settings.STORE_URL) / "libraries" / "tiny" / "versions"
    libraries.mkdir(parents=True)
    (libraries / "00000001.json").write_text(f'{{"manifest":"{root}","number":1}}')
    kept = [
        index_object(f'{{"pages":["{page}"]}}', root, age=10**6),
        index_object(f'[{{"vectors":"{vectors}"}}]', page, age=10**6),
        index_object("tensors", vectors, age=10**6),
        index_object("young", "5" * 64),
    ]
    gone = index_object("old and unnamed", lost, age=10**6)

    run("collect_garbage", "--delete")

    assert all(path.exists() for path in kept)
    assert not gone.exists()


def test_index_objects_are_left_alone_while_anybody_works() -> None:
    lost = index_object("old and unnamed", "4" * 64, age=10**6)
    jobs.enqueue(JobKind.INDEX, library_id=1)

    run("collect_garbage", "--delete")

    assert lost.exists()


def test_index_objects_stay_once_somebody_begins_to_work_during_a_collection() -> None:
    objects = [index_object("old and unnamed", digit * 64, age=10**6) for digit in "45"]
    collection = garbage.collect(timedelta())

    next(collection)
    jobs.enqueue(JobKind.INDEX, library_id=1)

    assert list(collection) == []
    assert sum(path.exists() for path in objects) == 1


def test_the_folder_of_a_long_composition_is_no_garbage_without_any_grace() -> None:
    folder = settings.TEMPORARY / "work-long"
    folder.mkdir()
    two_hours_ago = time.time() - 2 * 3600
    os.utime(folder, (two_hours_ago, two_hours_ago))

    run("collect_garbage", "--delete", "--grace-hours", "0")

    assert folder.exists()


@pytest.fixture
def healthy() -> Library:
    """A library with an expert, published and in the index store."""
    place = making.library()
    release = making.ready(making.user(), place)
    version = making.publish(place)
    versions = Path(settings.STORE_URL) / "libraries" / "tiny" / "versions"
    versions.mkdir(parents=True)
    (versions / "00000001.json").write_text(f'{{"manifest":"{version.manifest}","number":1}}')
    (versions.parent / "current.json").write_text('{"number":1}')
    index_object("x", release.vectors_digest)
    return place


def test_a_healthy_hub_passes_its_own_check(healthy: Library) -> None:
    assert "BAD" not in run("fsck")


def broken_blob() -> None:
    path = blobs.local_path(Blob.objects.earliest("pk").sha256)
    path.chmod(0o600)
    path.write_bytes(b"x" * path.stat().st_size)


def missing_blob() -> None:
    blobs.storage().remove(Blob.objects.earliest("pk").sha256)


def cut_blob() -> None:
    path = blobs.local_path(Blob.objects.earliest("pk").sha256)
    path.chmod(0o600)
    path.write_bytes(b"")


def lost_job() -> None:
    making.upload(User.objects.get(), Library.objects.get(), "lost")
    Job.objects.filter(kind=JobKind.VALIDATE, state="queued").delete()


def settled_twice() -> None:
    ReleaseEvent.objects.filter(what="ready").update(what="validated")


def abandoned_job() -> None:
    jobs.enqueue(JobKind.INDEX, library_id=1)
    claim = making.take(JobKind.INDEX)
    Job.objects.filter(pk=claim.job_id).update(lease_until=Now() - timedelta(hours=1))


def other_manifest() -> None:
    (Path(settings.STORE_URL) / "libraries" / "tiny" / "versions" / "00000001.json").write_text(
        '{"manifest":"0"}'
    )


def behind() -> None:
    (Path(settings.STORE_URL) / "libraries" / "tiny" / "current.json").unlink()


def gap() -> None:
    place = Library.objects.get()
    IndexVersion.objects.create(library=place, number=3, policy={}, base_digest="b" * 64, expert_count=1)


def wrong_commit() -> None:
    Release.objects.get().commit.files.filter(path="adapter_config.json").update(path="renamed.json")


def headless() -> None:
    Ref.objects.all().delete()


def missing_vectors() -> None:
    release = Release.objects.get()
    (Path(settings.STORE_URL) / "objects" / release.vectors_digest[:2] / release.vectors_digest).unlink()


def invented_downloads() -> None:
    Adapter.objects.update(downloads_all_time=3)


def left_over() -> None:
    path = settings.TEMPORARY / "left"
    path.touch()
    os.utime(path, (1, 1))


FAULTS = {
    broken_blob: "was altered",
    missing_blob: "is named but missing",
    cut_blob: "has 0 bytes",
    lost_job: "nothing is waiting to go on with it",
    settled_twice: "has 0 settling events",
    abandoned_job: "nobody took it over",
    other_manifest: "the index store says 0",
    behind: "serves version None",
    gap: "not 1 to 2",
    wrong_commit: "is not what it says",
    headless: "has no branch main",
    missing_vectors: "which is missing",
    invented_downloads: "has 3 downloads, but those of its days are 0",
    left_over: "temporary left is older",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_each_fault_is_found_and_said_in_a_sentence(healthy: Library, fault: object) -> None:
    fault()  # type: ignore[operator]
    out = io.StringIO()

    with pytest.raises(SystemExit) as caught:
        call_command("fsck", "--deep", stdout=out)

    assert caught.value.code == 1
    assert FAULTS[fault] in out.getvalue()  # type: ignore[index]


@pytest.mark.parametrize(
    "command",
    [
        "create_library",
        "create_user",
        "create_token",
        "list_jobs",
        "retry_job",
        "promote",
        "roll_back",
        "reindex",
        "quarantine",
        "collect_garbage",
        "fsck",
    ],
)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call_command(command, "--help")

    assert len(capsys.readouterr().out) > 300
