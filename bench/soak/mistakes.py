"""Requests that are wrong, with the status and the code that each must be refused by."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from bench.soak.shelf import LIBRARY

COMPLETIONS, CHATS, EMBEDDINGS = "/v1/completions", "/v1/chat/completions", "/v1/embeddings"
COMPLETION: dict[str, Any] = {"model": LIBRARY, "prompt": "w1 w2", "max_tokens": 2}
CHAT: dict[str, Any] = {"model": LIBRARY, "messages": [{"role": "user", "content": "w3"}], "max_tokens": 2}
LARGE = 3 * 2**20


@dataclass(frozen=True)
class Mistake:
    """What is sent where, and how it must be refused."""

    path: str
    content: bytes
    status: int
    code: str
    headers: tuple[tuple[str, str], ...] = ()


def _wrong(status: int, code: str, **fields: Any) -> Mistake:
    return Mistake(COMPLETIONS, json.dumps(COMPLETION | fields).encode(), status, code)


def _wrong_chat(status: int, code: str, **fields: Any) -> Mistake:
    return Mistake(CHATS, json.dumps(CHAT | fields).encode(), status, code)


MISTAKES = (
    Mistake(COMPLETIONS, b"", 400, "invalid_json"),
    Mistake(COMPLETIONS, b'{"model": "soak", "prompt"', 400, "invalid_json"),
    Mistake(COMPLETIONS, b"\xff\xfe", 400, "invalid_json"),
    Mistake(COMPLETIONS, b"[" * 100_000, 400, "invalid_json"),
    Mistake(CHATS, b"[]", 400, "invalid_type"),
    Mistake(COMPLETIONS, b'{"prompt": "' + b"x" * LARGE + b'"}', 413, "request_too_large"),
    Mistake("/v1/responses", b"{}", 404, "unknown_url"),
    Mistake(EMBEDDINGS, b"{}", 400, "missing_required_parameter"),
    Mistake(EMBEDDINGS, json.dumps({"model": LIBRARY, "input": ["w1", ""]}).encode(), 400, "invalid_value"),
    _wrong(404, "model_not_found", model="nowhere"),
    _wrong(404, "model_not_found", model=f"{LIBRARY}@99999999"),
    _wrong(404, "model_not_found", model=f"{LIBRARY}/zoe/nobody"),
    _wrong(400, "invalid_type", prompt=7),
    _wrong(400, "context_length_exceeded", prompt="w1 " * 3000),
    _wrong(400, "invalid_value", prompt=[0, 99_999_999]),
    _wrong(400, "invalid_value", max_tokens=10**9),
    _wrong(400, "invalid_value", n=1000),
    _wrong(400, "invalid_value", temperature=3),
    _wrong(400, "invalid_value", stop=["w1"] * 17),
    _wrong(400, "invalid_value", logit_bias={"99999999": 1}),
    _wrong(400, "unknown_parameter", tools=[]),
    _wrong(400, "unknown_parameter", **{f"field{place}": 1 for place in range(5_000)}),
    _wrong(400, "invalid_value", routing={"router": "oracle"}),
    _wrong(400, "unknown_expert", routing={"experts": ["zoe/nobody"]}),
    _wrong(400, "invalid_value", routing={"version": 99_999_999}),
    _wrong(400, "invalid_value", routing={"router": "classifier"}),
    _wrong(400, "invalid_value", model=f"{LIBRARY}/base", routing={"top_k": 1}),
    _wrong_chat(400, "invalid_value", messages=[]),
    _wrong_chat(400, "invalid_value", messages=[{"role": "wizard", "content": "w1"}]),
    _wrong_chat(400, "context_length_exceeded", messages=[{"role": "user", "content": "w1 " * 3000}]),
    _wrong_chat(400, "invalid_value", response_format={"type": "json_object"}),
    Mistake(
        COMPLETIONS,
        json.dumps(COMPLETION).encode(),
        401,
        "private_forged",
        (("X-Fletch-Private", "e30=.e30="),),
    ),
)
