"""Load on a serving process that has so many places, or refuses so often, as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from fletch import load
from fletch.app import fletch
from fletch.asking import Serving
from fletch.load import Load, put_on

CROWD = "ada has 2 answers under way or waiting and asks for 1 more; at most 2 at once"


@dataclass
class Place:
    """What the serving process answers; how often it was connected to, asked, and refused."""

    url: str = ""
    places: int = 512
    holds: int = 0  # its answers wait until so many were refused
    refuses: list[tuple[str, str]] = field(
        default_factory=list
    )  # code and Retry-After of those to come first
    always: bool = False  # the first of these for ever
    connected: int = 0
    asked: int = 0
    refused: int = 0
    busy: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def refusal(self) -> tuple[str, str] | None:
        """Why nobody comes in now, or None and somebody has."""
        with self.changed:
            self.asked += 1
            if self.refuses:
                found = self.refuses[0] if self.always else self.refuses.pop(0)
            elif self.busy >= self.places:
                found = ("too_many_answers", "0")
            else:
                self.busy += 1
                return None
            self.refused += 1
            self.changed.notify_all()
            return found

    def answer(self) -> bytes:
        """The stream of an answer, whose place is free again before its end is read."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.refused >= self.holds, 30)
            self.busy -= 1
        event = {"choices": [{"text": "x"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
        return f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode()


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()

    class Pages(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            with place.changed:
                place.connected += 1

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            refused = place.refusal()
            if refused is None:
                return self._send(200, place.answer(), {})
            error = {"error": {"message": CROWD, "code": refused[0]}}
            return self._send(429, json.dumps(error).encode(), {"Retry-After": refused[1]})

        def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.daemon_threads = True  # connections that are kept would be waited for
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    place.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield place
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def loaded(place: Place, requests: int, *, at_once: int) -> Load:
    body: dict[str, Any] = {"model": "tales", "prompt": "Say"}
    return put_on(Serving(place.url), [body] * requests, at_once=at_once, heard=lambda *_: None)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long was waited, without waiting."""
    pauses: list[float] = []
    monkeypatch.setattr(load, "sleep", pauses.append)
    return pauses


def test_questions_share_as_many_connections_as_are_asked_at_once(place: Place) -> None:
    found = loaded(place, 12, at_once=3)

    assert len(found.answered) == place.asked == 12
    assert place.connected <= 3
    assert (found.put_off, found.at_once) == ({}, 3)


def test_fewer_are_asked_where_fewer_are_taken_and_all_are_answered(place: Place) -> None:
    place.places, place.holds = (
        2,
        4,
    )  # two of four are let in, and answered once the others were refused twice

    found = loaded(place, 8, at_once=4)

    assert len(found.answered) == 8
    assert found.at_once == 2
    assert found.put_off == {CROWD: 4}
    assert found.refusals == {}
    assert found.to_json()["completion_tokens"] == 8


def test_the_last_questions_are_asked_by_whoever_is_left(place: Place) -> None:
    place.refuses = [("too_many_answers", "0")] * 5

    found = loaded(place, 2, at_once=2)

    assert len(found.answered) == 2
    assert found.at_once == 1


def test_a_limit_that_fewer_at_once_would_meet_too_is_waited_for(place: Place, pauses: list[float]) -> None:
    place.refuses = [("rate_limit_exceeded", "7")] * 6

    found = loaded(place, 3, at_once=1)

    assert pauses == [7, 14, 28, 30, 30, 30]
    assert len(found.answered) == 3
    assert found.put_off == {CROWD: 6}


def test_nobody_asks_again_sooner_than_told(place: Place, pauses: list[float]) -> None:
    place.refuses = [("rate_limit_exceeded", "59")]

    loaded(place, 1, at_once=1)

    assert pauses == [59]


def test_what_is_refused_for_minutes_stays_refused(
    place: Place, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "PATIENCE", -1.0)
    place.refuses, place.always = [("queue_full", "1")], True

    found = loaded(place, 3, at_once=2)

    assert pauses == []
    assert found.answered == []
    assert found.refusals == {CROWD: 3}


def test_the_command_ends_well_where_all_were_answered_and_says_what_limit_was_met(place: Place) -> None:
    place.places, place.holds = 2, 4

    run = CliRunner().invoke(
        fletch, ["bench", "tales", "--serving", place.url, "--requests", "6", "--at-once", "4"]
    )

    assert run.exit_code == 0, run.output
    assert run.stdout.startswith("6 of 6 answers in ")
    assert "2 at once of the 4 asked for: more were not taken" in run.stdout
    assert f"put off 4 times: {CROWD}" in run.stdout
