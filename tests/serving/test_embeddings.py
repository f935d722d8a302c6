"""Embeddings through the official client: what the composed model makes of a text, a lot of texts at a time."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
import torch

from routing.composed import ComposedModel
from routing.embedding import Embedding, embed
from routing.generation import Generation
from routing.routes import Routing
from tests.routing.libraries import TEXT, SmallLibrary
from tests.routing.published import PublishedLibrary
from tests.serving.live import LiveServer, live_server
from tests.serving.test_bad_requests import assert_refused
from workers.serving.options import Limits

LOT = Limits().running
TEXTS = [TEXT, "The mill", "Bread and cheese " * 20, "x"]


@pytest.fixture
def client(live: LiveServer) -> Any:
    return live.client()


@pytest.fixture(scope="module")
def narrow(small_library: SmallLibrary, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Two works run, one may wait, and a request may hold twelve texts."""
    published = PublishedLibrary(tmp_path_factory.mktemp("store"), small_library)
    published.publish(1)
    with live_server(published.url, limits=Limits(running=2, waiting=1, embeddings=12)) as live:
        live.wait_for_version("tales", 1)
        yield live


def vectors(answer: Any) -> torch.Tensor:
    assert [one.index for one in answer.data] == list(range(len(answer.data)))
    return torch.tensor([one.embedding for one in answer.data])


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_each_model_name_embeds_as_what_it_names(client: Any, composed: ComposedModel) -> None:
    prompt = composed.tokens(TEXT)
    single = composed.way(prompt, composed.routing(router="single", experts=["bob/wide"]))
    ways = {"tales": composed.way(prompt), "tales/base": None, "tales/bob/wide": single}

    for model, way in ways.items():
        answer = client.embeddings.create(model=model, input=TEXT)

        expected = embed(composed.routed, prompt, route=way).vector
        assert_equal(vectors(answer)[0], expected)
        assert float(expected.norm()) == pytest.approx(1)
        assert (answer.model, answer.object, answer.data[0].object) == (model, "list", "embedding")
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == len(prompt)
    pinned = client.embeddings.create(model="tales@1", input=TEXT)
    assert_equal(vectors(pinned), vectors(client.embeddings.create(model="tales", input=TEXT)))
    assert pinned.fletch["version"] == 1
    assert pinned.fletch["experts"]


def test_several_texts_are_embedded_in_order_each_as_alone_in_either_format(client: Any) -> None:
    def ask(given: Any, **form: str) -> torch.Tensor:
        return vectors(client.embeddings.create(model="tales", input=given, **form))

    together, floats = ask(TEXTS), ask(TEXTS, encoding_format="float")  # unsaid, the client asks for base64

    assert_equal(together, torch.cat([ask(text) for text in TEXTS]))
    assert_equal(together, floats)
    assert len({tuple(row.tolist()) for row in together}) == len(TEXTS)


def test_tokens_are_embedded_as_the_text_that_they_are(client: Any, composed: ComposedModel) -> None:
    tokens = [list(composed.tokens(text)) for text in TEXTS]

    by_tokens = client.embeddings.create(model="tales", input=tokens)

    assert_equal(vectors(by_tokens), vectors(client.embeddings.create(model="tales", input=TEXTS)))
    assert by_tokens.usage.total_tokens == sum(map(len, tokens))
    alone = client.embeddings.create(model="tales", input=tokens[1])
    assert_equal(vectors(alone)[0], vectors(by_tokens)[1])


def test_an_embedding_is_routed_as_the_request_says(client: Any, composed: ComposedModel) -> None:
    asked = {"router": "arrow", "top_k": 1, "experts": ["ada/plain", "eve/late"]}
    prompt = composed.tokens(TEXT)
    way = composed.way(prompt, Routing("arrow", top_k=1, experts=("ada/plain", "eve/late")))

    answer = client.embeddings.create(model="tales", input=TEXT, extra_body={"routing": asked})

    assert_equal(vectors(answer)[0], embed(composed.routed, prompt, route=way).vector)
    assert {one["adapter"] for one in answer.fletch["experts"]} == {"ada/plain", "eve/late"}


@pytest.mark.parametrize(
    ("change", "code", "param"),
    [
        ({"input": []}, "invalid_value", "input"),
        ({"input": ""}, "invalid_value", "input"),
        ({"input": ["a", ""]}, "invalid_value", "input"),
        ({"input": [[1], []]}, "invalid_value", "input"),
        ({"input": [5, 99_999]}, "invalid_value", "input"),
        ({"input": 5}, "invalid_type", "input"),
        ({"input": "word " * 300}, "context_length_exceeded", "input"),
        ({"input": ["a"] * 2_049}, "invalid_value", "input"),
        ({"dimensions": 16}, "invalid_value", "dimensions"),
        ({"encoding_format": "int8"}, "invalid_value", "encoding_format"),
        ({"routing": {"trace": True}}, "invalid_value", "routing.trace"),
        ({"routing": {"router": "oracle"}}, "invalid_value", "routing.router"),
        ({"model": "tales/base", "routing": {"top_k": 1}}, "invalid_value", "routing"),
        ({"temperature": 0}, "unknown_parameter", "temperature"),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_field(
    live: LiveServer, change: dict[str, Any], code: str, param: str
) -> None:
    assert_refused(live.post("/v1/embeddings", **{"model": "tales", "input": "a"} | change), 400, code, param)


def test_the_width_that_it_has_may_be_asked_for(client: Any) -> None:
    assert vectors(client.embeddings.create(model="tales", input="a", dimensions=32)).shape == (1, 32)


def test_more_texts_than_may_run_at_once_are_embedded_and_counted(narrow: LiveServer) -> None:
    counts = [
        ("fletch_requests_total", {"endpoint": "/v1/embeddings", "status": "200"}),
        ("fletch_prompt_tokens_total", {"library": "tales"}),
        ("fletch_pass_tokens_sum", {}),
    ]

    def counted() -> list[float]:
        value = narrow.server.metrics.registry.get_sample_value
        return [value(name, labels) or 0.0 for name, labels in counts]

    before = counted()
    answer = narrow.client().embeddings.create(model="tales", input=TEXTS * 3)

    first, *others = vectors(answer).split(len(TEXTS))
    assert_equal(torch.cat(others), torch.cat([first, first]))
    read = answer.usage.prompt_tokens
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [1, read, read]
    with pytest.raises(openai.BadRequestError, match="found 13, expected at most 12"):
        narrow.client().embeddings.create(model="tales", input=["a"] * 13)


def test_fewer_at_once_are_embedded_where_others_leave_fewer_places(
    narrow: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> torch.Tensor:
        return vectors(narrow.client().embeddings.create(model="tales", input=TEXTS * 3))

    expected = ask()
    monkeypatch.setattr(narrow.server.runner.engine, "_may_wait", -1)

    assert_equal(ask(), expected)


def test_a_long_list_fills_no_queue_keeps_nobody_waiting_and_leaves_its_memory_behind(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, most, hear, speak = live.server.runner.engine, 2_048, Embedding.hear, Generation.hear
    alive, heard, said = weakref.WeakSet[Embedding](), list[tuple[int, int]](), list[int]()

    def listening(work: Embedding, *what: Any) -> Any:
        alive.add(work)
        heard.append((len(alive), engine.running + engine.waiting))
        if len(heard) == most // 2:
            live.wait_until(lambda: engine.running + engine.waiting > LOT)
        return hear(work, *what)

    def speaking(work: Generation, *what: Any) -> Any:
        said.append(len(heard))
        return speak(work, *what)

    monkeypatch.setattr(Embedding, "hear", listening)
    monkeypatch.setattr(Generation, "hear", speaking)
    with ThreadPoolExecutor(1) as pool:
        texts = [f"word {number % 100}" for number in range(most)]
        asked = pool.submit(live.post, "/v1/embeddings", model="tales", input=texts)
        live.wait_until(lambda: len(heard) >= most // 2)
        assert live.post("/v1/completions", model="tales", prompt=TEXT, max_tokens=3).status_code == 200
        answer = asked.result().json()

    assert [one["index"] for one in answer["data"]] == list(range(most))
    found = torch.tensor([one["embedding"] for one in answer["data"]])
    assert_equal(found[100:], found[:-100])
    assert most // 2 <= said[0] <= said[-1] < most
    assert max(works for works, _ in heard) <= 2 * LOT
    assert max(places for _, places in heard) <= LOT + 1


def test_they_wait_for_places_like_answers_and_give_them_back_when_the_client_goes(
    narrow: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, hold, heard, hear = narrow.server.runner.engine, threading.Event(), list[str](), Embedding.hear

    def held(work: Embedding, *what: Any) -> Any:
        heard.append("a text")
        hold.wait(30)
        return hear(work, *what)

    monkeypatch.setattr(Embedding, "hear", held)
    asked = {"model": "tales", "input": TEXTS * 3}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{narrow.url}/v1/embeddings", json=asked, timeout=0.5)
    narrow.wait_until(lambda: engine.running == 0)
    hold.set()

    assert narrow.post("/v1/embeddings", model="tales", input="a").status_code == 200
    assert len(heard) <= 2 + 1  # what was in the pass, and nothing of the request that came behind it

    monkeypatch.setattr(engine, "_may_wait", -2)
    assert narrow.post("/v1/embeddings", **asked).json()["error"]["code"] == "queue_full"
