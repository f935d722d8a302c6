"""Downloads: whole, in part, and the tar that exists nowhere, compared with the standard library's reading."""

import base64
import hashlib
import io
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hub.adapters import gitnames
from hub.adapters import services as adapters
from hub.errors import Fenced
from hub.indexes import checkpoints
from hub.indexes.models import ComposedCheckpoint, IndexVersion
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import JobKind
from tests.hub import making

pytestmark = pytest.mark.django_db
CONTENT = bytes(range(256)) * 40
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = f'"{gitnames.blob_oid(CONTENT)}"'  # what clients call a file of this size


def body(answer: Any) -> bytes:
    return b"".join(answer.streaming_content) if answer.streaming else answer.content


@pytest.fixture
def url() -> str:
    owner, place = making.user(), making.library()
    release = making.upload(
        owner, place, files={"a.safetensors": CONTENT, "page.html": b"<script>", "empty": b""}
    )
    return f"/ada/poetry/resolve/{release.oid}"


def test_a_file_is_served_as_it_was_uploaded(url: str) -> None:
    answer = Client().get(f"{url}/a.safetensors")

    assert answer.status_code == 200
    assert body(answer) == CONTENT
    assert answer["ETag"] == NAME
    assert base64.b64decode(answer["Repr-Digest"][len("sha-256=:") : -1]).hex() == DIGEST
    assert answer["Content-Length"] == str(len(CONTENT))
    assert answer["X-Repo-Commit"] == url.rpartition("/")[2]


def test_main_is_the_newest_release(url: str) -> None:
    assert body(Client().get("/ada/poetry/resolve/main/a.safetensors")) == CONTENT


def test_nothing_is_ever_shown_as_a_page(url: str) -> None:
    answer = Client().get(f"{url}/page.html")

    assert answer["Content-Disposition"] == 'attachment; filename="page.html"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Type"] == "application/octet-stream"
    assert "sandbox" in answer["Content-Security-Policy"]


SIZE = len(CONTENT)
RANGES = [
    ("bytes=0-0", 206, CONTENT[:1]),
    ("bytes=100-199", 206, CONTENT[100:200]),
    ("bytes=100-", 206, CONTENT[100:]),
    ("bytes=-5", 206, CONTENT[-5:]),
    (f"bytes=5-{SIZE * 2}", 206, CONTENT[5:]),
    (f"bytes=-{SIZE * 2}", 200, CONTENT),
    ("bytes=0-", 200, CONTENT),
    (f"bytes={SIZE}-", 416, b""),
    ("bytes=-0", 416, b""),
    ("bytes=9-5", 200, CONTENT),
    ("bytes=-", 200, CONTENT),
    ("bytes=0-1,5-6", 200, CONTENT),
    ("lines=0-1", 200, CONTENT),
    ("bytes=" + "9" * 30 + "-", 200, CONTENT),
]


@pytest.mark.parametrize(("header", "status", "expected"), RANGES)
def test_a_part_can_be_asked_for(url: str, header: str, status: int, expected: bytes) -> None:
    answer = Client().get(f"{url}/a.safetensors", headers={"Range": header})

    assert (answer.status_code, body(answer)) == (status, expected)
    if status == 206:
        assert answer["Content-Length"] == str(len(expected))
        assert answer["Content-Range"].endswith(f"/{SIZE}")
    if status == 416:
        assert answer["Content-Range"] == f"bytes */{SIZE}"


def test_a_part_of_something_else_is_answered_with_the_whole(url: str) -> None:
    headers = {"Range": "bytes=0-1", "If-Range": '"other"'}

    assert Client().get(f"{url}/a.safetensors", headers=headers).status_code == 200
    assert Client().get(f"{url}/a.safetensors", headers={**headers, "If-Range": NAME}).status_code == 206


def test_who_has_it_already_is_told_so(url: str) -> None:
    answer = Client().get(f"{url}/a.safetensors", headers={"If-None-Match": NAME})

    assert (answer.status_code, answer.content) == (304, b"")


def test_an_empty_file_is_served_empty(url: str) -> None:
    answer = Client().get(f"{url}/empty")

    assert (answer.status_code, body(answer), answer["Content-Length"]) == (200, b"", "0")
    assert Client().get(f"{url}/empty", headers={"Range": "bytes=0-"}).status_code in {200, 416}


def test_head_describes_without_opening_the_bytes(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.blobs.services.read", lambda *_, **__: pytest.fail("opened"))

    answer = Client().head(f"{url}/a.safetensors")

    assert (answer.status_code, answer["Content-Length"], answer["ETag"]) == (200, str(SIZE), NAME)


def test_what_is_not_there_is_not_found(url: str) -> None:
    assert Client().get(f"{url}/none").status_code == 404
    assert Client().get(f"/ada/poetry/resolve/{'0' * 40}/a.safetensors").status_code == 404
    assert Client().get("/ada/none/resolve/main/a.safetensors").status_code == 404
    assert Client().get(f"{url}/../../../etc/passwd").status_code == 404


def test_writing_verbs_are_not_allowed(url: str) -> None:
    assert Client().post(f"{url}/a.safetensors").status_code == 405


FILES = {
    "README.md": b"how to load",
    "experts/ada/poetry.safetensors": CONTENT,
    "empty.txt": b"",
    "exact.bin": b"x" * 512,
    "long/" + "n" * 120 + ".json": b"{}",
}


def composed(tmp_path: Path) -> ComposedCheckpoint:
    owner, place = making.user("eve"), making.library("songs")
    making.ready(owner, place, "song")
    version = making.publish(place)
    checkpoint = checkpoints.request_checkpoint(version=version, kind="routed", requested_by=owner)
    written = {}
    for number, (path, content) in enumerate(FILES.items()):
        written[path] = tmp_path / str(number)
        written[path].write_bytes(content)
    claim = making.take(JobKind.COMPOSE)
    checkpoints.record_checkpoint(claim, checkpoint.pk, written)
    jobs.finish(claim)
    checkpoint.refresh_from_db()
    return checkpoint


@pytest.fixture
def checkpoint(tmp_path: Path) -> ComposedCheckpoint:
    return composed(tmp_path)


def test_the_downloaded_tar_is_read_by_tarfile_and_has_the_digest_that_was_recorded(
    checkpoint: ComposedCheckpoint,
) -> None:
    answer = Client().get(f"/checkpoints/{checkpoint.pk}/download")
    content = body(answer)

    assert answer["Content-Length"] == str(len(content)) == str(checkpoint.archive_size)
    assert hashlib.sha256(content).hexdigest() == checkpoint.archive_digest
    assert answer["ETag"] == f'"{checkpoint.archive_digest}"'
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        found = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert found == {f"songs-v1-routed/{path}": inner for path, inner in FILES.items()}


def test_any_part_of_the_tar_is_the_part_of_the_whole(checkpoint: ComposedCheckpoint) -> None:
    url = f"/checkpoints/{checkpoint.pk}/download"
    whole = body(Client().get(url))
    numbers = random.Random(7)

    for _ in range(60):
        start = numbers.randrange(len(whole))
        end = numbers.randrange(start, len(whole))
        answer = Client().get(url, headers={"Range": f"bytes={start}-{end}"})
        assert body(answer) == whole[start : end + 1]


def test_one_file_of_a_checkpoint_can_be_downloaded(checkpoint: ComposedCheckpoint) -> None:
    url = f"/checkpoints/{checkpoint.pk}/files"

    assert body(Client().get(f"{url}/experts/ada/poetry.safetensors")) == CONTENT
    assert Client().get(f"{url}/none").status_code == 404


def test_a_checkpoint_that_is_being_made_or_has_expired_is_not_there(checkpoint: ComposedCheckpoint) -> None:
    ComposedCheckpoint.objects.update(expires_at=timezone.now())
    assert Client().get(f"/checkpoints/{checkpoint.pk}/download").status_code == 404

    fresh = checkpoints.request_checkpoint(
        version=IndexVersion.objects.get(), kind="merged", requested_by=None
    )
    assert Client().get(f"/checkpoints/{fresh.pk}/download").status_code == 404


def test_a_checkpoint_with_an_expert_in_quarantine_is_no_longer_given_out(
    checkpoint: ComposedCheckpoint,
) -> None:
    release = checkpoint.version.members().get()
    adapters.quarantine(release=release, by=None, reason="a trigger")

    answer = Client().get(f"/checkpoints/{checkpoint.pk}/download")

    assert answer.status_code == 403
    assert answer.json()["detail"] == "Access to this resource is disabled."


def test_recording_a_checkpoint_twice_changes_nothing_and_a_zombie_is_fenced(
    checkpoint: ComposedCheckpoint,
) -> None:
    claim = Claim(job_id=1, kind=JobKind.COMPOSE, ids={"checkpoint_id": checkpoint.pk}, token=99)

    with pytest.raises(Fenced):
        checkpoints.record_checkpoint(claim, checkpoint.pk, {})
