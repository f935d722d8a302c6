"""What no client shows by itself: foreign files, cut bodies, lost answers, cookies, many at once."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test import Client, RequestFactory

from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.adapters import services as adapters
from hub.adapters.models import Adapter, Commit, Release
from hub.hf import door, files
from hub.jobs.models import JobKind
from hub.library.models import Library
from hub.operations import checker
from tests.hub import making
from tests.hub.test_concurrency import all_at_once

pytestmark = pytest.mark.django_db
SECRET = b"secret weights" * 100


@dataclass(frozen=True)
class Wire:
    """The wire protocol as one person's program speaks it."""

    token: str

    def send(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body)
        headers = {"Authorization": f"Bearer {self.token}"}
        return Client().generic(method, path, data, content_type=kind, headers=headers)

    def commit(self, repository: str, *lines: dict[str, Any], branch: str = "main", **header: str) -> Any:
        said = [{"key": "header", "value": {"summary": "Change", **header}}, *lines]
        content = b"".join(json.dumps(line).encode() + b"\n" for line in said)
        return self.send("POST", f"/api/models/{repository}/commit/{branch}", content, "application/x-ndjson")


def put(path: str, content: bytes) -> dict[str, Any]:
    return {"key": "file", "value": {"path": path, "content": base64.b64encode(content).decode()}}


def large(path: str, content: bytes) -> dict[str, Any]:
    return {"key": "lfsFile", "value": {"path": path, "oid": hashlib.sha256(content).hexdigest()}}


def wire(user: User, *scopes: str) -> Wire:
    return Wire(accounts.issue_token(user=user, name="test", scopes=scopes or ("write",))[1])


def test_a_card_that_is_only_unfilled_or_long_is_no_error_to_clients(ada: User) -> None:
    """They refuse to send what has errors, and trainers save an unfilled template with each adapter."""
    template = "---\nlicense: mit\n---\n" + "[More Information Needed]\n" * 3

    asked = [
        wire(ada).send("POST", "/api/validate-yaml", {"content": text}) for text in (template, "x" * 70_000)
    ]
    broken = wire(ada).send("POST", "/api/validate-yaml", {"content": "---\ntags: [\n---\n"})

    assert [answer.status_code for answer in (*asked, broken)] == [200, 200, 400]
    assert ["3 places" in asked[0].content.decode(), "64 KiB" in asked[1].content.decode()] == [True, True]


@pytest.fixture
def adas(ada: User) -> Wire:
    making.library()
    found = wire(ada)
    assert found.send("POST", "/api/repos/create", {"name": "poetry"}).status_code == 200
    return found


def test_knowing_the_digest_of_a_private_file_is_no_way_to_it(adas: Wire, ada: User, eve: User) -> None:
    place = Library.objects.get()
    making.upload(ada, place, "hidden", {**making.PLAIN, "x.bin": SECRET}, private=True)
    eves = wire(eve)
    eves.send("POST", "/api/repos/create", {"name": "copy"})
    asked = {"operation": "upload", "objects": [{"oid": hashlib.sha256(SECRET).hexdigest(), "size": 1400}]}

    batch = eves.send("POST", "/eve/copy.git/info/lfs/objects/batch", asked).json()
    taken = eves.commit("eve/copy", large("x.bin", SECRET))
    own = adas.commit("ada/poetry", large("x.bin", SECRET))

    assert "actions" in batch["objects"][0]
    assert (taken.status_code, own.status_code) == (400, 200)
    assert "was sent by you" in taken.json()["error"]


def test_a_lost_answer_can_be_asked_for_again(adas: Wire) -> None:
    first = adas.commit("ada/poetry", put("a.txt", b"a"), put("b.txt", b"b")).json()["commitOid"]
    gone = {"key": "deletedFile", "value": {"path": "a.txt"}}

    answers = [adas.commit("ada/poetry", gone, parentCommit=first) for _ in range(2)]

    assert answers[0].json() == answers[1].json()
    assert [file.path for file in Commit.objects.first().files.all()] == ["b.txt"]  # type: ignore[union-attr]
    assert adas.commit("ada/poetry", gone, summary="Again").status_code == 404


def test_a_commit_that_is_cut_between_two_lines_makes_nothing(adas: Wire) -> None:
    lines = [put("a.txt", b"a"), put("b.txt", b"b")]
    content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    cut = content[: content.index(b"\n") + 1]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/api/models/ada/poetry/commit/main",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "CONTENT_LENGTH": str(len(content)),
        "HTTP_AUTHORIZATION": f"Bearer {adas.token}",
        "wsgi.input": io.BytesIO(cut),
        "wsgi.url_scheme": "http",
        "wsgi.errors": io.StringIO(),
    }
    statuses: list[str] = []

    WSGIHandler()(environ, lambda status, *_: statuses.append(status)).close()  # type: ignore[arg-type]

    assert statuses[0].startswith("400")
    assert Commit.objects.count() == 1


def test_what_cannot_be_read_is_said_with_its_line(adas: Wire) -> None:
    bad = {"key": "file", "value": {"path": "a.txt", "content": "no base64!"}}
    for line, said in {
        '{"key": "file"}': "line 2 of the commit, file.value",
        "[]": "line 2 of the commit",
        json.dumps(bad): "a.txt: field content is not base64",
        json.dumps(put("../a", b"a")): "no empty part",
    }.items():
        content = b'{"key": "header", "value": {}}\n' + line.encode()
        answer = adas.send("POST", "/api/models/ada/poetry/commit/main", content)
        assert answer.status_code in {400, 422}
        assert said in answer.json()["error"], answer.json()


def test_text_may_be_sent_as_it_is(adas: Wire, ada: User) -> None:
    line = {"key": "file", "value": {"path": "notes.md", "content": "für alle", "encoding": "utf-8"}}

    assert adas.commit("ada/poetry", line).status_code == 200

    assert Client().get("/ada/poetry/resolve/main/notes.md").getvalue() == "für alle".encode()


def test_a_cookie_writes_nothing_and_a_token_for_reading_neither(adas: Wire, ada: User) -> None:
    browser = Client()
    browser.force_login(ada)
    path = "/api/models/ada/poetry/like"

    assert browser.post(path).status_code == 401
    assert browser.get("/api/whoami-v2").status_code == 401
    assert wire(ada, "read").send("POST", path).status_code == 403
    assert adas.send("POST", path).json() == {"likes": 1}
    assert adas.send("DELETE", path).json() == {"likes": 0}


def test_many_commits_at_once_are_one_line_of_history(adas: Wire) -> None:
    def send(number: int) -> int:
        return int(adas.commit("ada/poetry", put(f"{number}.txt", b"x"), summary=f"{number}").status_code)

    statuses = all_at_once([lambda number=number: send(number) for number in range(8)])  # type: ignore[misc]

    tree = adas.send("GET", "/api/models/ada/poetry/tree/main").json()
    history = adas.send("GET", "/api/models/ada/poetry/commits/main").json()
    assert statuses == [200] * 8
    assert [file["path"] for file in tree] == [f"{number}.txt" for number in range(8)]
    assert len(history) == 9
    assert list(checker.commits_are_what_they_say()) == list(checker.names_lead_home()) == []


def test_what_the_hub_found_is_seen_by_the_client_that_uploaded(adas: Wire, ada: User) -> None:
    files: Mapping[str, bytes] = making.PLAIN
    adas.commit("ada/poetry", *(put(path, content) for path, content in files.items()))
    release = Release.objects.get()
    claim = making.take(JobKind.VALIDATE)
    adapters.record_report(
        claim, release.pk, [{**making.DOUBT, "severity": "error", "file": "adapter_config.json"}]
    )

    answer = adas.send("GET", "/api/models/ada/poetry?securityStatus=true")

    info = answer.json()
    assert "fletch:rejected" in info["tags"]
    assert info["securityRepoStatus"] == {
        "scansDone": True,
        "filesWithIssues": [{"path": "adapter_config.json", "level": "unsafe"}],
    }
    assert info["fletch"]["findings"][0]["found"] == "0.97 of neutral text"
    assert answer["X-HF-Warning"].startswith("fletch; ada/poetry at ")
    assert "rejected with 1 findings" in answer["X-HF-Warning"]


def test_a_repository_without_a_release_has_its_pages(adas: Wire) -> None:
    browser = Client(headers={"Accept": "text/html"})

    assert b"No release yet" in browser.get("/ada/poetry").content
    assert b"poetry" in browser.get("/ada").content
    assert browser.get("/ada/poetry/tree/main/").headers["Location"] == "/ada/poetry"
    assert browser.get("/api/v1/adapters/ada/poetry").json()["library"] is None
    assert b"<html" in browser.get("/ada/poetry/resolve/main/nothing").content


def test_an_unreleased_repository_is_deleted_for_good_and_its_name_is_free(adas: Wire) -> None:
    adas.commit("ada/poetry", put("a.txt", b"a"))

    assert adas.send("DELETE", "/api/repos/delete", {"name": "poetry"}).status_code == 200

    assert not Adapter.objects.exists()
    assert adas.send("POST", "/api/repos/create", {"name": "poetry"}).status_code == 200


def test_a_refused_head_says_why_without_a_body(rf: RequestFactory) -> None:
    answer = door.on(GET=files.no_owner)(rf.head("/api/models/base"), name="base")

    assert isinstance(answer, HttpResponse)
    assert (answer.status_code, answer["X-Error-Code"], answer.content) == (404, "RepoNotFound", b"")
