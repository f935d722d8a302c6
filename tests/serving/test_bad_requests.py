"""Bad requests are refused at once, by field, in OpenAI's words; the process goes on."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.serving.live import LiveServer
from workers.serving import prompts

COMPLETION = {"model": "tales", "prompt": "The mill", "max_tokens": 2}
CHAT = {"model": "tales", "messages": [{"role": "user", "content": "Why?"}], "max_tokens": 2}
BAD_COMPLETIONS: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"model": None}, 400, "invalid_type", "model"),
    ({"model": "nowhere"}, 404, "model_not_found", "model"),
    ({"model": "../../etc/passwd"}, 404, "model_not_found", "model"),
    ({"model": "tales\u0000"}, 404, "model_not_found", "model"),
    ({"model": "tales@99"}, 404, "model_not_found", "model"),
    ({"model": "tales/zoe/nobody"}, 404, "model_not_found", "model"),
    ({"prompt": None}, 400, "invalid_type", "prompt"),
    ({"prompt": 7}, 400, "invalid_type", "prompt"),
    ({"prompt": []}, 400, "invalid_value", "prompt"),
    ({"prompt": [0, 99_999]}, 400, "invalid_value", "prompt"),
    ({"prompt": "word " * 300}, 400, "context_length_exceeded", "prompt"),
    ({"max_tokens": -1}, 400, "invalid_value", "max_tokens"),
    ({"max_tokens": "many"}, 400, "invalid_type", "max_tokens"),
    ({"max_tokens": 10**9}, 400, "invalid_value", "max_tokens"),
    ({"temperature": -0.1}, 400, "invalid_value", "temperature"),
    ({"temperature": 2.1}, 400, "invalid_value", "temperature"),
    ({"top_p": -0.1}, 400, "invalid_value", "top_p"),
    ({"store": True}, 400, "invalid_value", "store"),
    ({"service_tier": "priority"}, 400, "invalid_value", "service_tier"),
    (
        {"stream_options": {"include_obfuscation": True}},
        400,
        "invalid_value",
        "stream_options.include_obfuscation",
    ),
    ({"n": 0}, 400, "invalid_value", "n"),
    ({"n": 1000}, 400, "invalid_value", "n"),
    ({"logprobs": 1000}, 400, "invalid_value", "logprobs"),
    ({"logprobs": True}, 400, "invalid_type", "logprobs"),
    ({"stop": ["a"] * 17}, 400, "invalid_value", "stop"),
    ({"stop": ""}, 400, "invalid_value", "stop"),
    ({"stop": ["ab" * 128, "a" * 257]}, 400, "invalid_value", "stop"),
    ({"stop": {"a": 1}}, 400, "invalid_type", "stop"),
    ({"stream": "yes"}, 400, "invalid_type", "stream"),
    ({"presence_penalty": 2.5}, 400, "invalid_value", "presence_penalty"),
    ({"frequency_penalty": "much"}, 400, "invalid_type", "frequency_penalty"),
    ({"repetition_penalty": 0}, 400, "invalid_value", "repetition_penalty"),
    ({"min_p": 1.1}, 400, "invalid_value", "min_p"),
    ({"top_k": 1.5}, 400, "invalid_type", "top_k"),
    ({"logit_bias": {"the": 1}}, 400, "invalid_value", "logit_bias"),
    ({"logit_bias": {"5": 101}}, 400, "invalid_value", "logit_bias"),
    ({"logit_bias": {"99999": 1}}, 400, "invalid_value", "logit_bias"),
    ({"tools": []}, 400, "unknown_parameter", "tools"),
    ({"routing": {"router": "oracle"}}, 400, "invalid_value", "routing.router"),
    ({"routing": {"top_k": 0}}, 400, "invalid_value", "routing.top_k"),
    ({"routing": {"temperature": 0}}, 400, "invalid_value", "routing.temperature"),
    ({"routing": {"experts": ["zoe/nobody"]}}, 400, "unknown_expert", "routing.experts"),
    ({"routing": {"experts": []}}, 400, "invalid_value", "routing.experts"),
    ({"routing": {"force": ["ada/plain"], "router": "arrow"}}, 400, "invalid_value", "routing.force"),
    ({"routing": {"router": "single"}}, 400, "invalid_value", "routing.experts"),
    ({"routing": {"version": 99}}, 400, "invalid_value", "routing.version"),
    ({"routing": {"shortcut": 1}}, 400, "unknown_parameter", "routing.shortcut"),
    ({"routing": {"trace": True}, "n": 2}, 400, "invalid_value", "routing.trace"),
    ({"model": "tales/base", "routing": {"top_k": 1}}, 400, "invalid_value", "routing"),
]
BAD_CHATS: list[tuple[dict[str, Any], int, str, str | None]] = [
    ({"messages": []}, 400, "invalid_value", "messages"),
    ({"messages": "hello"}, 400, "invalid_type", "messages"),
    ({"messages": [{"role": "wizard", "content": "x"}]}, 400, "invalid_value", "messages.role"),
    ({"messages": [{"role": "user"}]}, 400, "missing_required_parameter", "messages.content"),
    ({"messages": [{"role": "user", "content": "word " * 300}]}, 400, "context_length_exceeded", "messages"),
    ({"messages": [{"role": "user", "content": ""}] * 257}, 400, "context_length_exceeded", "messages"),
    ({"top_logprobs": 2}, 400, "invalid_value", "top_logprobs"),
    ({"reasoning_effort": "most"}, 400, "invalid_value", "reasoning_effort"),
    ({"functions": [{"name": "f"}]}, 400, "unknown_parameter", "functions"),
    ({"top_logprobs": 21}, 400, "invalid_value", "top_logprobs"),
    ({"response_format": {"type": "xml"}}, 400, "invalid_value", "response_format"),
    (
        {"response_format": {"type": "json_schema"}},
        400,
        "missing_required_parameter",
        "response_format.json_schema",
    ),
]


def assert_refused(answer: httpx.Response, status: int, code: str, param: str | None) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param), error
    assert error["message"]
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(("change", "status", "code", "param"), BAD_COMPLETIONS)
def test_a_bad_completion_is_refused_by_field(
    live: LiveServer, change: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    assert_refused(live.post("/v1/completions", **COMPLETION | change), status, code, param)


@pytest.mark.parametrize(("change", "status", "code", "param"), BAD_CHATS)
def test_a_bad_chat_is_refused_by_field(
    live: LiveServer, change: dict[str, Any], status: int, code: str, param: str | None
) -> None:
    assert_refused(live.post("/v1/chat/completions", **CHAT | change), status, code, param)


def test_more_messages_than_the_base_reads_tokens_are_not_even_written_down(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def prompt(_tokenizer: object, messages: list[object], *_: object) -> list[int]:
        written.append(len(messages))
        return [1]

    monkeypatch.setattr(prompts, "chat_prompt", prompt)
    context = live.server.libraries["tales"].live.model.base.spec.context  # type: ignore[union-attr]
    message = {"role": "user", "content": "a"}

    many = live.post("/v1/chat/completions", **CHAT | {"messages": [message] * (context + 1)})
    fitting = live.post("/v1/chat/completions", **CHAT | {"messages": [message] * context})

    assert written == [context]
    assert fitting.status_code == 200, fitting.text
    assert_refused(many, 400, "context_length_exceeded", "messages")
    assert f"found {context + 1}" in many.json()["error"]["message"]
    assert f"at most {context} tokens" in many.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[]", 400, "invalid_type"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"prompt": "' + b"x" * 3_000_000 + b'"}', 413, "request_too_large"),
    ],
)
def test_a_body_that_is_no_request_is_refused(
    live: LiveServer, content: bytes, status: int, code: str
) -> None:
    answer = httpx.post(f"{live.url}/v1/completions", content=content, timeout=30)

    assert_refused(answer, status, code, None)


def test_everything_that_is_wrong_is_said_at_once(live: LiveServer) -> None:
    message = live.post("/v1/completions", **COMPLETION | {"n": 0, "top_p": 7}).json()["error"]["message"]

    assert "n:" in message
    assert "top_p:" in message


def test_paths_and_methods_that_do_not_exist_are_refused_in_the_same_shape(live: LiveServer) -> None:
    assert live.get("/v1/nothing").json()["error"]["code"] == "unknown_url"
    assert live.get("/v1/completions").status_code == 405


def test_after_all_that_it_still_answers(live: LiveServer) -> None:
    assert live.post("/v1/completions", **COMPLETION).status_code == 200
    assert live.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": [True] * 300_000},
        {"prompt": [[0, True]] * 100_000},
        {"stop": [1] * 300_000},
        {"routing": {"experts": [1] * 300_000}},
        {f"field{place}": 1 for place in range(50_000)},
    ],
    ids=["prompt", "prompts", "stop", "experts", "fields"],
)
def test_very_many_mistakes_are_answered_with_few_words(live: LiveServer, change: dict[str, Any]) -> None:
    answer = live.post("/v1/completions", **COMPLETION | change)

    assert answer.status_code == 400
    assert len(answer.content) < 5_000


def test_more_prompts_than_allowed_cost_the_tokenizer_nothing(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = live.server.libraries["tales"].model
    assert model is not None
    monkeypatch.setattr(type(model.base.tokenizer), "__call__", lambda *_args, **_kwargs: 1 / 0)

    answer = live.post("/v1/completions", **COMPLETION | {"prompt": ["a"] * 17})

    assert_refused(answer, 400, "invalid_value", "n")


def test_stop_strings_as_many_and_as_long_as_may_be_are_taken(live: LiveServer) -> None:
    stop = [chr(65 + place) * 256 for place in range(16)]

    assert live.post("/v1/completions", **COMPLETION | {"stop": stop}).status_code == 200


def test_what_would_be_missed_is_refused_with_what_was_found_and_would_be_right(live: LiveServer) -> None:
    error = live.post("/v1/completions", **COMPLETION | {"store": True}).json()["error"]

    assert error["message"] == "store: found True, but no answer is kept here; expected false"


def test_a_smallest_temperature_is_one(live: LiveServer) -> None:
    greedy = live.post("/v1/completions", **COMPLETION | {"temperature": 0}).json()

    coldest = live.post("/v1/completions", **COMPLETION | {"temperature": 5e-324}).json()

    assert coldest["choices"] == greedy["choices"]
