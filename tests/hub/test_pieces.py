"""Uploads in pieces: what came stays, what is missing follows, and nothing is believed before its digest."""

import hashlib
import io
import threading
from collections.abc import Iterable
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from pytest_django import Settings

from hub.accounts.models import User
from hub.adapters import pieces
from hub.adapters.models import Adapter, Release
from hub.errors import Conflict, Invalid
from tests.hub import making
from tests.hub.conftest import Api, api_of

pytestmark = pytest.mark.django_db
WEIGHTS = b"weights" * 1000
FILES = {**making.PLAIN, "adapter_model.safetensors": WEIGHTS}
ASSEMBLED = "/libraries/tiny/adapters/poetry/releases/assembled"


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def api(ada: User) -> Api:
    making.library()
    return api_of(ada)


def append(api: Api, content: bytes, *, offset: int = 0, size: int | None = None, name: str = "") -> Any:
    whole = size if size is not None else offset + len(content)
    url = f"/api/v1/uploads/{name or digest(content)}?offset={offset}&size={whole}"
    kind = "application/octet-stream"
    return api.client.patch(url, content, content_type=kind, headers=api.headers)


def sent(api: Api, contents: Iterable[bytes]) -> None:
    for content in contents:
        answer = append(api, content)
        assert answer.json()["complete"], answer.content


def assembled(api: Api, files: dict[str, bytes] = FILES, **more: object) -> Any:
    tree = [{"path": path, "sha256": digest(content)} for path, content in files.items()]
    return api.post(ASSEMBLED, {"files": tree, **more})


def test_a_file_sent_in_two_parts_is_the_file(api: Api) -> None:
    first = append(api, WEIGHTS[:3000], size=len(WEIGHTS), name=digest(WEIGHTS))
    here = api.get(f"/uploads/{digest(WEIGHTS)}").json()
    second = append(api, WEIGHTS[3000:], offset=3000, name=digest(WEIGHTS))

    assert first.json()["received"] == here["received"] == 3000
    assert not here["complete"]
    assert second.json() == {
        "sha256": digest(WEIGHTS),
        "received": len(WEIGHTS),
        "complete": True,
    }


def test_files_that_are_here_become_the_release_that_a_form_would_have_made(api: Api) -> None:
    sent(api, FILES.values())
    rows = b'{"prompt": "a", "completion": "b"}'
    sent(api, [rows])

    made = assembled(api, message="first", samples=digest(rows))
    again = assembled(api, message="first", samples=digest(rows))

    assert made.status_code == 202, made.content
    assert again.json()["oid"] == made.json()["oid"]
    release = Release.objects.get()
    assert {file.path: file.blob_id for file in release.commit.files.all()} == {
        path: digest(content) for path, content in FILES.items()
    }
    assert release.samples_id == digest(rows)
    assert list(settings.TEMPORARY.iterdir()) == []


def test_what_one_has_uploaded_before_need_not_be_sent_again(api: Api) -> None:
    sent(api, FILES.values())
    assembled(api)
    card = {**FILES, "README.md": b"# Poetry"}
    sent(api, [b"# Poetry"])

    here = api.get(f"/uploads/{digest(WEIGHTS)}").json()
    made = assembled(api, card)

    assert here == {"sha256": digest(WEIGHTS), "received": len(WEIGHTS), "complete": True}
    assert made.status_code == 202, made.content
    assert Release.objects.get(number=2).commit.files.count() == len(card)


def test_a_digest_is_no_right_to_what_others_uploaded(api: Api) -> None:
    sent(api, FILES.values())
    assembled(api, private=True)
    bob = api_of(making.user("bob"))

    here = bob.get(f"/uploads/{digest(WEIGHTS)}").json()
    refused = assembled(bob)

    assert here["received"] == 0
    assert refused.status_code == 404
    assert "adapter_config.json, adapter_model.safetensors are not here" in refused.json()["detail"]
    assert not Adapter.objects.filter(owner__username="bob").exists()


def test_other_bytes_than_were_said_are_refused_and_forgotten(api: Api) -> None:
    refused = append(api, b"x" * len(WEIGHTS), name=digest(WEIGHTS))

    assert refused.status_code == 400
    assert f"not {digest(WEIGHTS)}" in refused.json()["detail"]
    assert api.get(f"/uploads/{digest(WEIGHTS)}").json()["received"] == 0
    assert list(settings.TEMPORARY.iterdir()) == []


def test_bytes_that_do_not_follow_are_refused_with_where_to_go_on(api: Api) -> None:
    append(api, WEIGHTS[:100], size=len(WEIGHTS), name=digest(WEIGHTS))

    refused = append(api, WEIGHTS[200:], offset=200, name=digest(WEIGHTS))

    assert refused.status_code == 409
    assert "100 bytes are here, so go on from there" in refused.json()["detail"]


def test_two_at_once_write_every_byte_once(ada: User) -> None:
    """Both begin at the start; one of them has to see that the other was first."""
    refusals = []
    began = threading.Barrier(2)
    one = pieces.piece(ada, digest(WEIGHTS))

    def run() -> None:
        began.wait()
        try:
            pieces.append(one, io.BytesIO(WEIGHTS[:5000]), offset=0, size=len(WEIGHTS))
        except Conflict as error:
            refusals.append(str(error))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert refusals == ["5000 bytes are here, so go on from there, not from 0"]
    assert one.part.read_bytes() == WEIGHTS[:5000]


def test_nobody_fills_the_disk_with_beginnings(api: Api, ada: User, settings: Settings) -> None:
    settings.LIMITS = making.limits(adapter_bytes=4000, samples_bytes=0)
    room = settings.LIMITS.request_bytes
    for letter in "abc":
        old = pieces.piece(ada, letter * 64)
        old.part.write_bytes(b"x" * (room // 2))

    append(api, b"y" * 3000, size=4000, name="d" * 64)
    too_large = append(api, b"y", size=4001, name="e" * 64)

    left = sum(path.stat().st_size for path in settings.TEMPORARY.iterdir())
    assert left <= room
    assert pieces.piece(ada, "d" * 64).part.exists()
    assert too_large.status_code == 413


@pytest.mark.parametrize("name", ["main", "A" * 64, "a" * 63, "..%2F..%2Fetc"])
def test_a_name_that_is_no_digest_is_refused(api: Api, ada: User, name: str) -> None:
    assert api.get(f"/uploads/{name}").status_code in {400, 404}
    with pytest.raises(Invalid):
        pieces.piece(ada, name)


def test_only_a_token_that_may_write_uploads(ada: User) -> None:
    reader = api_of(ada, "read")

    assert append(reader, WEIGHTS).status_code == 403
    assert append(api_of(None), WEIGHTS).status_code == 401
    assert list(settings.TEMPORARY.iterdir()) == []
