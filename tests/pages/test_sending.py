"""Sending in pieces from the upload page: refused before a byte where it can be, gone on with wherever it broke off."""

import hashlib
import re
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from hub.accounts.models import User
from hub.adapters.models import Release
from hub.library.models import Library
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by

WEIGHTS = b"weights" * 20_000
FILES = {**making.PLAIN, "adapter_model.safetensors": WEIGHTS, "README.md": b"# Poetry"}
ROWS = b'{"prompt": "a", "completion": "b"}\n'


@pytest.fixture
def client(db: None) -> Client:
    content.found_library()
    return seen_by(making.user("ada"))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def planned(path: str, data: bytes) -> dict[str, Any]:
    return {"path": path, "sha256": digest(data), "size": len(data)}


def plan(files: dict[str, bytes] = FILES, **more: object) -> dict[str, Any]:
    listed = [planned(path, data) for path, data in files.items()]
    return {"library": "demo", "name": "poetry", "files": listed, **more}


def asked(client: Client, what: str, document: object) -> Any:
    return client.post(
        f"/upload/{what}", document, content_type="application/json", headers={"Accept": "*/*"}
    )


def sent(client: Client, data: bytes, *, start: int = 0, size: int | None = None) -> Any:
    where = f"/upload/pieces/{digest(data)}?offset={start}&size={len(data)}"
    return client.patch(where, data[start:size], content_type="application/octet-stream").json()


def test_what_is_missing_is_sent_and_becomes_the_release_that_a_form_would_have_made(client: Client) -> None:
    rows = planned("rows.jsonl", ROWS)
    here = asked(client, "begin", plan(rows=rows)).json()["here"]
    for data in (*FILES.values(), ROWS):
        assert sent(client, data)["complete"]

    answer = asked(client, "finish", plan(rows=rows, message="first"))

    release = Release.objects.get()
    assert {one["received"] for one in here.values()} == {0}
    assert answer.status_code == 201, answer.content
    assert answer.json()["url"] == f"/ada/poetry/releases/{release.oid}"
    assert set(release.commit.files.values_list("blob_id", flat=True)) == set(map(digest, FILES.values()))
    assert (release.samples_id, release.commit.message) == (digest(ROWS), "first")
    assert list(settings.TEMPORARY.iterdir()) == []


def test_an_unfinished_upload_is_found_again_and_goes_on_where_it_broke_off(client: Client) -> None:
    asked(client, "begin", plan())
    sent(client, WEIGHTS, size=100_000)

    page = re.sub(r"\s+", " ", client.get("/libraries/demo/upload").content.decode())
    here = asked(client, "begin", plan()).json()["here"]

    assert "Unfinished uploads" in page
    assert 'href="/libraries/demo/upload?name=poetry"' in page
    assert "97.7 KiB of 136." in page
    assert here[digest(WEIGHTS)] == {"received": 100_000, "complete": False}
    assert sent(client, WEIGHTS, start=100_000) == {"received": len(WEIGHTS), "complete": True}
    assert "Unfinished" not in seen_by(making.user("bob")).get("/libraries/demo/upload").content.decode()


def test_what_was_uploaded_before_need_not_be_sent_again(client: Client) -> None:
    client.post(
        "/libraries/demo/upload",
        {"name": "poetry", "files": [making.form_file(*one) for one in FILES.items()]},
    )

    here = asked(client, "begin", plan({**FILES, "README.md": b"# New"})).json()["here"]

    assert here[digest(WEIGHTS)] == {"received": len(WEIGHTS), "complete": True}
    assert here[digest(b"# New")]["received"] == 0


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"name": "-no-"}, 400, "is no name for an adapter"),
        ({"library": "nothing"}, 404, "there is no library nothing"),
        ({"name": "Taken", "private": True}, 409, "ada/Taken is public"),
        ({"name": "taken"}, 409, "the same name to us"),
        ({"files": [planned("../x", b"x")]}, 422, "not be accepted"),
        ({"files": [{**planned("x", b"x"), "size": 3 * 2**30}]}, 413, "an adapter may have 2,147,483,648"),
        ({"files": [{"path": "x", "sha256": "abc", "size": 1}]}, 400, "expected 64 of the digits"),
        ({"files": [{**planned("x", b"x"), "size": -1}]}, 400, "files.0.size"),
    ],
)
def test_what_can_be_refused_without_the_bytes_is_refused_before_they_are_sent(
    client: Client, changes: dict[str, Any], status: int, said: str
) -> None:
    making.upload(User.objects.get(), Library.objects.get(), "Taken")

    answer = asked(client, "begin", plan() | changes)

    assert answer.status_code == status, answer.content
    assert said in answer.json()["detail"]
    assert "Unfinished" not in client.get("/libraries/demo/upload").content.decode()


def test_a_plan_that_nobody_wants_is_taken_off_the_list(client: Client) -> None:
    asked(client, "begin", plan())

    client.post("/upload/unfinished/poetry/forget")

    assert "Unfinished" not in client.get("/libraries/demo/upload").content.decode()


def test_nothing_is_made_of_bytes_that_are_not_here(client: Client) -> None:
    sent(client, WEIGHTS)

    answer = asked(client, "finish", plan())

    assert answer.status_code == 404
    assert "upload them first" in answer.json()["detail"]
    assert not Release.objects.exists()


def test_a_session_that_ended_is_said_and_not_redirected(client: Client) -> None:
    assert asked(Client(), "begin", plan()).status_code == 401


def test_a_card_s_fields_are_written_into_its_front_matter_and_read_from_it(client: Client) -> None:
    text = "---\nlicense: mit\ntags: [verse, rhyme]\nmine: 7\n---\n# Hi <script>alert(1)</script>\n"

    read = client.post("/upload/card", {"card": text}).json()
    written = client.post(
        "/upload/card", {"card": text, "license": "apache-2.0", "language": "en, de"}
    ).json()

    assert read["text"] == text
    assert read["fields"] == {"license": "mit", "language": "", "tags": "verse, rhyme"}
    assert "<script>" not in read["html"]
    assert written["fields"] == {"license": "apache-2.0", "language": "en, de", "tags": "verse, rhyme"}
    assert "mine: 7" in written["text"]
    assert (
        client.post("/upload/card", {"card": "---\na: [\n---\n"})
        .json()["complaint"]
        .startswith("The front matter")
    )


def test_what_nobody_filled_in_is_noted_and_no_complaint(client: Client) -> None:
    text = "# Verses\n\n[More Information Needed]\n\n- **Language:** [More Information Needed]\n"

    said = client.post("/upload/card", {"card": text}).json()

    assert said["complaint"] == ""
    assert said["note"].startswith("2 places of this card still say")


def test_a_card_written_in_the_plain_form_takes_the_place_of_the_file_s(client: Client) -> None:
    files = [making.form_file(*one) for one in FILES.items()]

    client.post(
        "/upload", {"library": "demo", "name": "poetry", "files": files, "card": "# Mine", "license": "mit"}
    )

    release = Release.objects.get()
    assert release.commit.card == {"license": "mit"}
    assert release.commit.files.count() == len(FILES)


def test_a_form_without_a_library_says_so_at_its_place(client: Client) -> None:
    content.found_library("other")

    page = client.post("/upload", {"name": "poetry"}).content.decode()

    assert "Choose a library." in page
    assert 'value="poetry"' in page
