"""The shape of POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from routing.streaming import TextToken
from workers.serving.shapes import Writing
from workers.serving.spelling import Spelling, Spelt
from workers.serving.tool_calls import Call, CallReader


class ChatShape:
    """A message, with likelihoods as a list of tokens. `new_reader` makes what finds tool calls in it."""

    prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def __init__(self, new_reader: Callable[[], CallReader | None] = lambda: None) -> None:
        self._new_reader = new_reader

    def begin(self) -> Writing:
        return Writing(self._new_reader())

    def whole(self, writing: Writing, tokenizer: Any) -> dict[str, Any]:
        text, calls = _said(writing.tokens, writing)
        message = {"role": "assistant", "content": text or (None if calls else ""), "refusal": None}
        return {
            "message": {**message, "tool_calls": [call.body() for call in calls]} if calls else message,
            "logprobs": _logprobs(writing.tokens, tokenizer),
        }

    def first(self) -> dict[str, Any] | None:
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def piece(self, tokens: Sequence[TextToken], tokenizer: Any, writing: Writing) -> dict[str, Any]:
        text, calls = _said(tokens, writing)
        delta: dict[str, Any] = {"content": text} if text else {}
        if calls:
            delta["tool_calls"] = [{"index": call.place, **call.body()} for call in calls]
        return {"delta": delta, "logprobs": _logprobs(tokens, tokenizer)}


def _said(tokens: Sequence[TextToken], writing: Writing) -> tuple[str, list[Call]]:
    """What these tokens made certain: text, and calls of tools."""
    text = "".join(token.text for token in tokens)
    if writing.reader is None:
        return text, []
    return writing.reader.push(text, last=writing.finish is not None)


def _logprobs(tokens: Sequence[TextToken], tokenizer: Any) -> dict[str, Any] | None:
    likely = [(token, token.likelihood) for token in tokens if token.likelihood is not None]
    if not likely:
        return None
    spelling = Spelling(tokenizer)
    return {
        "content": [
            {
                **_spelt(spelling.at(token, token.token), likelihood.logprob),
                "top_logprobs": [
                    _spelt(spelling.at(token, other), logprob) for other, logprob in likelihood.alternatives
                ],
            }
            for token, likelihood in likely
        ],
        "refusal": None,
    }


def _spelt(spelt: Spelt, logprob: float) -> dict[str, Any]:
    return {"token": spelt.text, "logprob": logprob, "bytes": list(spelt.content)}
