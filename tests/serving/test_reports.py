"""What a serving process reports to its hub: signed counts, each once, and nothing of private experts or callers."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from hub.uses.schemas import ReportIn
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.guest_lists import Hub as PrivateHub
from tests.serving.guest_lists import known_hub
from tests.serving.live import LiveServer, live_server
from workers.serving.reporting import HEADER, PATH, Hub, Reporter

MEMBERS = ["ada/plain", "cy/attention", "eve/late"]
KEY = "a key of the operator's"
BODY = {"model": "tales", "prompt": TEXT, "max_tokens": 6, "temperature": 0, "user": "somebody"}


@dataclass
class ListeningHub:
    """A hub that writes down what it is sent, and answers with the statuses that it was told to.

    None: a line that is no HTTP.
    """

    url: str = ""
    statuses: list[int | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @property
    def reports(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.bodies]


@pytest.fixture
def hub() -> Iterator[ListeningHub]:
    listening = ListeningHub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            signature = hmac.new(KEY.encode(), body, hashlib.sha256).hexdigest()
            assert (self.path, self.headers[HEADER]) == (PATH, f"sha256={signature}")
            listening.bodies.append(body)
            status = listening.statuses.pop(0) if listening.statuses else 200
            if status is None:
                self.wfile.write(b"bad gateway\r\n\r\n")
                return
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    listening.url = f"http://127.0.0.1:{server.server_port}"
    yield listening
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def private(published: PublishedLibrary) -> PrivateHub:
    return known_hub(published, MEMBERS)


@pytest.fixture
def live(private: PrivateHub, hub: ListeningHub) -> Iterator[LiveServer]:
    """Reports only when a test asks it to, and when it ends."""
    with live_server(private.published.url, report_to=Hub(hub.url, KEY, seconds=3600)) as live:
        live.wait_for_version("tales", 1)
        yield live


def report(live: LiveServer) -> None:
    assert live.server.reporter is not None
    live.server.reporter.report()


def test_a_report_says_whom_tokens_chose_and_nothing_of_who_asked_what(
    live: LiveServer, hub: ListeningHub
) -> None:
    answer = live.post("/v1/completions", **BODY, routing={"router": "arrow", "top_k": 2}).json()

    report(live)

    (said,) = hub.reports
    tokens = answer["usage"]["total_tokens"] - 1  # the last one was drawn and not read
    assert (said["library"], said["version"], said["number"]) == ("tales", 1, 1)
    assert said["tokens"] == [tokens] * len(said["modules"])
    assert set(said["hits"]) == {one["adapter"] for one in answer["fletch"]["experts"]}
    assert set(said) == {
        *("format", "instance", "number", "day", "library", "version", "manifest"),
        *("modules", "tokens", "hits"),
    }
    assert b"somebody" not in hub.bodies[0]
    ReportIn.model_validate(said)  # as the hub reads it


def test_nothing_is_reported_where_nobody_answered(live: LiveServer, hub: ListeningHub) -> None:
    report(live)

    assert hub.bodies == []


def test_private_experts_are_not_reported(live: LiveServer, hub: ListeningHub, private: PrivateHub) -> None:
    asked = BODY | {"routing": {"router": "uniform"}}
    answer = httpx.post(
        f"{live.url}/v1/completions", json=asked, headers=private.header("bob/wide"), timeout=60
    )

    report(live)

    assert "bob/wide" in answer.text
    assert hub.reports[0]["hits"].keys() == set(MEMBERS)


def test_a_report_whose_answer_was_lost_comes_again_as_it_was(live: LiveServer, hub: ListeningHub) -> None:
    hub.statuses += [503]
    live.post("/v1/completions", **BODY)
    report(live)

    live.post("/v1/completions", **BODY)
    report(live)

    lost, again, next_one = hub.bodies
    assert lost == again
    assert json.loads(next_one)["number"] == 2


def test_a_report_that_the_hub_will_never_take_is_given_up(live: LiveServer, hub: ListeningHub) -> None:
    hub.statuses += [404]
    for _ in range(2):
        live.post("/v1/completions", **BODY)
        report(live)

    assert [said["number"] for said in hub.reports] == [1, 2]


class Notes:
    """A book with these to be taken, one at a time; an error is raised."""

    def __init__(self, *documents: dict[str, Any] | Exception) -> None:
        self.documents = list(documents)
        self.read_through = threading.Event()

    def taken(self) -> Iterator[dict[str, Any]]:
        if not self.documents:
            self.read_through.set()
            return
        document = self.documents.pop(0)
        if isinstance(document, Exception):
            raise document
        yield document


def test_reports_go_on_after_what_is_no_answer_and_after_what_nobody_foresaw(
    hub: ListeningHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.statuses += [None]
    notes: Any = Notes({"day": "1"}, RuntimeError("spilled ink"), {"day": "2"})
    reporter = Reporter(Hub(hub.url, KEY, seconds=0.01), notes)

    reporter.start()
    assert notes.read_through.wait(30)
    reporter.stop()

    lost, again, next_one = hub.bodies
    assert lost == again
    assert [json.loads(body)["day"] for body in (again, next_one)] == ["1", "2"]
    said = [record.getMessage() for record in caplog.records if record.name == "workers.serving.reporting"]
    assert [line.partition(",")[0] for line in said] == [
        "a report of uses was answered by what is no HTTP",
        "a report of uses failed; there will be another one",
    ]


@pytest.mark.parametrize(("url", "key"), [("hub.example.org", KEY), ("https://hub.example.org", "")])
def test_a_process_that_could_not_report_is_not_started(url: str, key: str) -> None:
    with pytest.raises(ValueError, match=r"expected the hub's address|FLETCH_REPORT_KEY"):
        Hub(url, key)
