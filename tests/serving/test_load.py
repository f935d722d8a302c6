"""More requests than fit, clients that leave, and answers that take turns."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from routing.base import load_base
from routing.composed import ComposedModel
from routing.generation import Generation, Request
from routing.guidance import GuideLost
from routing.routed import RoutedModel
from routing.sampling import Sampling
from routing.streaming import TextToken
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.live import LiveServer, live_server
from tests.tiny import tiny_gpt2, tiny_t5
from workers.serving.options import Limits

LONG = {"model": "tales", "prompt": TEXT, "max_tokens": 180, "temperature": 0}


@pytest.fixture
def narrow(published: PublishedLibrary) -> Any:
    """A server where two answers run and one may wait."""
    published.publish(1)
    with live_server(published.url, limits=Limits(running=2, waiting=1)) as live:
        live.wait_for_version("tales", 1)
        yield live


def test_requests_beyond_the_queue_are_told_when_to_come_back(
    narrow: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, said, go, hear = narrow.server.runner.engine, list[int](), threading.Event(), Generation.hear

    def held(generation: Generation, *heard: Any) -> list[TextToken]:
        go.wait(30)
        return hear(generation, *heard)

    monkeypatch.setattr(Generation, "hear", held)

    def ask() -> None:
        said.append(narrow.post("/v1/completions", **LONG | {"n": 3, "max_tokens": 2}).status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    narrow.wait_until(lambda: engine.waiting == 1)
    refused = narrow.post("/v1/completions", **LONG, user="somebody else")
    go.set()
    asking.join()

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert refused.json()["error"]["code"] == "queue_full"
    assert said == [200]


def test_more_answers_than_there_are_places_are_never_taken_and_refused_for_good(narrow: LiveServer) -> None:
    refused = narrow.post("/v1/completions", **LONG | {"n": 4})

    error = refused.json()["error"]
    assert (refused.status_code, error["param"], error["code"]) == (400, "n", "invalid_value")
    assert error["message"] == "n: found 4 answers, expected at most 3"
    assert "retry-after" not in refused.headers


def test_a_client_that_leaves_frees_its_place(narrow: LiveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = narrow.server.runner.engine
    hear = Generation.hear

    def unhurried(generation: Generation, *heard: Any) -> list[TextToken]:
        time.sleep(0.1)  # a tiny model would be done before its client can leave
        return hear(generation, *heard)

    monkeypatch.setattr(Generation, "hear", unhurried)
    with httpx.stream("POST", f"{narrow.url}/v1/completions", json=LONG | {"stream": True}):
        narrow.wait_until(lambda: engine.running == 1)
    narrow.wait_until(lambda: engine.running == 0)

    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{narrow.url}/v1/completions", json=LONG, timeout=0.1)
    narrow.wait_until(lambda: engine.running == 0)


def test_answers_take_turns_and_a_short_one_overtakes_a_long_one(
    narrow: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, order, hear = narrow.server.runner.engine, list[str](), Generation.hear

    def beside_another(generation: Generation, *heard: Any) -> list[TextToken]:
        narrow.wait_until(lambda: order or engine.running == 2)  # a tiny model would be done before it comes
        return hear(generation, *heard)

    monkeypatch.setattr(Generation, "hear", beside_another)

    def ask(name: str, tokens: int) -> None:
        assert narrow.post("/v1/completions", **LONG | {"max_tokens": tokens}).status_code == 200
        order.append(name)

    long = threading.Thread(target=ask, args=("long", 180))
    long.start()
    narrow.wait_until(lambda: engine.running == 1)
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
    last = json.loads(streamed.text.rstrip().split("data: ")[-1])
    told, why = whole.json()["error"], "division by zero"
    assert told["type"] == "server_error"
    assert last["error"] == told | {"request_id": streamed.headers["X-Request-Id"]}
    assert (why in whole.text, why in streamed.text) == (False, False)
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [why, why]
    assert narrow.post("/v1/completions", **LONG).status_code == 200


def test_an_answer_that_cannot_go_on_in_its_form_breaks_off_alike_whole_and_streamed(
    narrow: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> None:
        raise GuideLost("no token fits")

    monkeypatch.setattr(Generation, "hear", lost)
    whole = narrow.post("/v1/completions", **LONG).json()["error"]
    streamed = narrow.post("/v1/completions", **LONG | {"stream": True})

    last = json.loads(streamed.text.rstrip().split("data: ")[-1])["error"]
    assert (whole["code"], whole["message"]) == ("guide_lost", "the answer broke off: no token fits")
    assert (last["code"], last["message"]) == (whole["code"], whole["message"])


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


@pytest.fixture
def short_of_memory(published: PublishedLibrary) -> Any:
    """A server whose answers have one MiB together."""
    published.publish(1)
    with live_server(published.url, limits=Limits(running=16, waiting=16, memory_megabytes=1)) as live:
        live.wait_for_version("tales", 1)
        yield live


def test_who_does_not_fit_into_the_memory_waits_and_is_answered(
    short_of_memory: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = short_of_memory.server.libraries["tales"].model
    assert model is not None
    assert model.token_bytes == 2 * 2 * 2 * 8 * 4  # layers, keys and values, heads, width, float32
    monkeypatch.setitem(vars(model), "token_bytes", 4096)
    engine, seen, hear = short_of_memory.server.runner.engine, list[int](), Generation.hear

    def watched(generation: Generation, *given: Any) -> list[TextToken]:
        seen.append(engine.running)
        return hear(generation, *given)

    monkeypatch.setattr(Generation, "hear", watched)
    answer = short_of_memory.post(
        "/v1/completions", model="tales", prompt="The mill", max_tokens=100, n=8, logit_bias={}
    )

    assert answer.status_code == 200
    assert len(answer.json()["choices"]) == 8
    assert max(seen) == 2  # 256 pages of 4 KiB: two answers of a hundred tokens and some


def test_who_never_fits_is_told_the_figures_at_once(
    short_of_memory: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = short_of_memory.server.libraries["tales"].model
    monkeypatch.setitem(vars(model), "token_bytes", 16_384)

    refused = short_of_memory.post("/v1/completions", model="tales", prompt="The mill", max_tokens=100)
    chat = short_of_memory.post(
        "/v1/chat/completions", model="tales", messages=[{"role": "user", "content": "Why?"}]
    )

    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "memory_exceeded", "prompt")
    assert "16384 bytes" in error["message"]
    assert "at most 64 together" in error["message"]
    assert chat.status_code == 200
    assert chat.json()["usage"]["total_tokens"] <= 64  # what is not said is what fits


def test_the_memory_of_an_answer_is_given_back_when_it_ends(composed: ComposedModel) -> None:
    generation = Generation(
        composed.routed, Request(tuple(composed.tokens(TEXT)), 30, sampling=Sampling(0.0))
    )
    most = 0
    while generation.finish is None:
        generation.advance()
        most = max(most, generation.memory_bytes)

    assert 0 < most <= generation.most_bytes
    assert generation.memory_bytes == 0


@pytest.mark.parametrize("base", [tiny_gpt2, tiny_t5])
def test_what_a_token_takes_is_known_of_every_kind_of_base(base: Callable[[], Path]) -> None:
    model = RoutedModel(load_base(base()))
    layers, width = 2, 48 if base is tiny_gpt2 else 32

    assert model.token_bytes == layers * 2 * width * 4
