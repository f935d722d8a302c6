"""More requests than fit, clients that leave, and answers that take turns."""

from __future__ import annotations

import threading
import time
from typing import Any

import httpx
import pytest

from routing.generation import Generation
from routing.streaming import TextToken
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.live import LiveServer, live_server
from workers.serving.options import Limits

LONG = {"model": "tales", "prompt": TEXT, "max_tokens": 180, "temperature": 0}


@pytest.fixture
def narrow(published: PublishedLibrary) -> Any:
    """A server where two answers run and one may wait."""
    published.publish(1)
    with live_server(published.url, limits=Limits(running=2, waiting=1)) as live:
        live.wait_for_version("tales", 1)
        yield live


def test_requests_beyond_the_queue_are_told_when_to_come_back(narrow: LiveServer) -> None:
    together = narrow.post("/v1/completions", **LONG | {"n": 4})

    assert together.status_code == 429
    assert together.headers["retry-after"] == "1"
    assert together.json()["error"]["code"] == "queue_full"
    assert narrow.post("/v1/completions", **LONG | {"n": 3, "max_tokens": 2}).status_code == 200


def test_a_client_that_leaves_frees_its_place(narrow: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = narrow.server.runner.engine
    quick = Generation.advance

    def unhurried(generation: Generation) -> list[TextToken]:
        time.sleep(0.3)  # a tiny model would be done before its client can leave
        return quick(generation)

    monkeypatch.setattr(Generation, "advance", unhurried)
    with httpx.stream("POST", f"{narrow.url}/v1/completions", json=LONG | {"stream": True}):
        narrow.wait_until(lambda: engine.running == 1)
    narrow.wait_until(lambda: engine.running == 0)

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{narrow.url}/v1/completions", json=LONG, timeout=0.1)
    narrow.wait_until(lambda: engine.running == 0)


def test_answers_take_turns_and_a_short_one_overtakes_a_long_one(narrow: LiveServer) -> None:
    order: list[str] = []

    def ask(name: str, tokens: int) -> None:
        assert narrow.post("/v1/completions", **LONG | {"max_tokens": tokens}).status_code == 200
        order.append(name)

    long = threading.Thread(target=ask, args=("long", 180))
    long.start()
    narrow.wait_until(lambda: narrow.server.runner.engine.running == 1)
    ask("short", 2)
    long.join()

    assert order == ["short", "long"]


def test_answers_that_take_turns_are_the_answers_given_alone(narrow: LiveServer) -> None:
    prompts = [TEXT, "The mill is"]
    alone = [narrow.post("/v1/completions", **LONG | {"prompt": p, "max_tokens": 30}).json() for p in prompts]

    together = narrow.post("/v1/completions", **LONG | {"prompt": prompts, "max_tokens": 30}).json()

    assert [choice["text"] for choice in together["choices"]] == [one["choices"][0]["text"] for one in alone]


def test_one_answer_that_fails_leaves_the_others_alone(
    narrow: LiveServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = narrow.server.libraries["tales"].model
    assert model is not None
    monkeypatch.setattr(model, "run_pieces", lambda *_args, **_kwargs: 1 / 0)
    whole = narrow.post("/v1/completions", **LONG)
    streamed = narrow.post("/v1/completions", **LONG | {"stream": True})
    monkeypatch.undo()

    assert whole.status_code == 500
    assert whole.json()["error"]["type"] == "server_error"
    assert '"generation_failed"' in streamed.text
    assert [record.exc_info is not None for record in caplog.records if "broke off" in record.message] == [
        True
    ]
    assert narrow.post("/v1/completions", **LONG).status_code == 200


def test_metrics_count_requests_and_tokens(narrow: LiveServer) -> None:
    answered = narrow.post("/v1/completions", **LONG | {"max_tokens": 7}).json()

    counts = narrow.get("/metrics").text

    assert (
        f'fletch_completion_tokens_total{{library="tales"}} {answered["usage"]["completion_tokens"]}.0'
        in counts
    )
    assert 'fletch_requests_total{endpoint="/v1/completions",status="200"} 1.0' in counts
    assert 'fletch_version{library="tales"} 1.0' in counts
    read = answered["usage"]["prompt_tokens"] + answered["usage"]["completion_tokens"] - 1  # the last is said
    assert f"fletch_pass_tokens_sum {read}.0" in counts
    assert f"fletch_pass_answers_sum {answered['usage']['completion_tokens']}.0" in counts
    assert "fletch_between_tokens_seconds_count" in counts


def test_what_nobody_could_run_is_not_even_prepared(published: PublishedLibrary) -> None:
    published.publish(1)
    with live_server(published.url, limits=Limits(running=0, waiting=0)) as live:
        live.wait_for_version("tales", 1)

        refused = live.post("/v1/completions", **LONG | {"prompt": "word " * 1000})

    assert refused.status_code == 429
