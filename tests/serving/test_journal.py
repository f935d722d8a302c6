"""Every request has a name and one line in the log, and nothing of what was said is in it."""

from __future__ import annotations

import json
import logging

import httpx
import pytest

from routing.generation import Generation
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.lines import Lines
from tests.serving.live import LiveServer, live_server
from workers.serving.journal import Entry
from workers.serving.logs import AsJson, AsText, say
from workers.serving.options import Limits

BODY = {"model": "tales", "prompt": TEXT, "max_tokens": 4, "temperature": 0}


def test_a_line_says_who_asked_whom_and_what_it_took(live: LiveServer, lines: Lines) -> None:
    answer = lines.post(live, "/v1/completions", **BODY, routing={"router": "spectral"})
    live.wait_until(lines)

    (line,) = lines()

    assert answer.headers["x-request-id"] == lines.name
    expected = {
        "request_id": lines.name,
        "message": "answered",
        "method": "POST",
        "path": "/v1/completions",
        "status": 200,
        "library": "tales",
        "version": 1,
        "router": "spectral",
        "caller": "127.0.0.1",
        "answers": 1,
        "prompt_tokens": answer.json()["usage"]["prompt_tokens"],
        "completion_tokens": 4,
    }
    assert {name: line.get(name) for name in expected} == expected
    assert 0 <= line["queue_seconds"] <= line["first_token_seconds"] <= line["seconds"]


@pytest.mark.parametrize("name", ["", "a b", "x" * 129, "{json}", "-rf", "naïve"])
def test_a_name_that_is_not_plain_is_replaced(live: LiveServer, name: str) -> None:
    answer = httpx.get(f"{live.url}/v1/models", headers=[(b"X-Request-Id", name.encode())], timeout=60)

    assert len(answer.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("path", "code"),
    [("/v1/completions", "model_not_found"), ("/v1/no/such/path", "unknown_url")],
)
def test_an_error_names_the_request(live: LiveServer, lines: Lines, path: str, code: str) -> None:
    answer = lines.post(live, path, **BODY | {"model": "nobody"})
    live.wait_until(lines)

    assert answer.json()["error"]["code"] == code
    assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"] == lines()[0]["request_id"]
    assert (lines()[0]["error"], lines()[0]["message"]) == (code, "not answered")


def test_a_stream_is_told_of_when_it_has_ended(live: LiveServer, lines: Lines) -> None:
    streamed = lines.post(live, "/v1/completions", **BODY, stream=True)
    live.wait_until(lines)

    assert "[DONE]" in streamed.text
    assert (lines()[0]["streamed"], lines()[0]["completion_tokens"]) == (True, 4)


def test_who_goes_before_the_end_is_told_of_with_what_was_written(
    published: PublishedLibrary, lines: Lines
) -> None:
    published.publish(1)
    with live_server(published.url, limits=Limits(running=1)) as live:
        live.wait_for_version("tales", 1)
        engine = live.server.runner.engine
        asked = {**BODY, "max_tokens": 180, "stream": True}
        stream = httpx.stream(
            "POST", f"{live.url}/v1/completions", json=asked, headers=lines.headers, timeout=60
        )
        with stream as answer:
            next(answer.iter_lines())
            live.wait_until(lambda: engine.running == 1 or lines())
        live.wait_until(lines)

    assert lines()[0]["completion_tokens"] > 0
    assert lines()[0].get("error", "client_closed_request") == "client_closed_request"


def test_an_answer_that_breaks_off_is_an_error_though_it_began_well(
    published: PublishedLibrary, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(1)
    monkeypatch.setattr(Generation, "hear", lambda *_: 1 / 0)
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        lines.post(live, "/v1/completions", **BODY, stream=True)
        live.wait_until(lines)

    assert (lines()[0]["status"], lines()[0]["error"]) == (200, "internal")


def test_no_line_has_a_word_of_what_was_said(
    live: LiveServer, lines: Lines, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "xylophone"
    answers = [
        lines.post(live, "/v1/completions", **BODY | {"prompt": secret}),
        lines.post(
            live,
            "/v1/chat/completions",
            model="tales",
            messages=[{"role": "user", "content": secret}],
            max_tokens=2,
        ),
        lines.post(live, "/v1/completions", **BODY | {"prompt": secret, "temperature": secret}),
        lines.post(live, "/v1/completions", **BODY | {"prompt": [secret] * 99}),
        lines.post(live, "/v1/completions", **BODY, user=secret, prompt_cache_key=secret),
    ]
    live.wait_until(lambda: len(lines()) == len(answers))

    written = "".join(form().format(record) for record in caplog.records for form in (AsText, AsJson))

    assert [answer.status_code for answer in answers] == [200, 200, 400, 400, 200]
    assert secret not in written


def test_machines_that_look_every_second_are_not_written_down(live: LiveServer, lines: Lines) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/v1/models"):
        httpx.get(f"{live.url}{path}", headers=lines.headers, timeout=60)
    live.wait_until(lines)

    assert [line["path"] for line in lines()] == ["/v1/models"]


def test_a_path_cannot_begin_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    entry = Entry("a-name", "GET", "/v1\n2026 INFO forged status=200")
    entry.status, entry.caller = 404, "one two"
    say(entry)

    (text,) = (AsText().format(record) for record in caplog.records)

    assert "\n" not in text
    assert "forged%20status" in text
    assert 'caller="one two"' in text


def test_an_exception_is_one_line_for_programs_and_names_no_other_request() -> None:
    error = ValueError("no")
    record = logging.LogRecord(
        "a", logging.ERROR, __file__, 1, "it %s", ("failed",), (ValueError, error, None)
    )

    line = AsJson().format(record)

    assert "\n" not in line
    assert json.loads(line)["message"] == "it failed"
    assert "ValueError: no" in json.loads(line)["exception"]
    assert "request_id" not in json.loads(line)
