"""The shape of POST /v1/chat/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from routing.streaming import TextToken


class ChatShape:
    """A message, with likelihoods as a list of tokens."""

    prefix = "chatcmpl"
    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"

    def whole(self, tokens: Sequence[TextToken], tokenizer: Any) -> dict[str, Any]:
        text = "".join(token.text for token in tokens)
        return {
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": _logprobs(tokens, tokenizer),
        }

    def first(self) -> dict[str, Any] | None:
        return {"delta": {"role": "assistant", "content": ""}, "logprobs": None}

    def piece(self, tokens: Sequence[TextToken], tokenizer: Any, offset: int) -> dict[str, Any]:  # noqa: ARG002 - chat has no offsets
        text = "".join(token.text for token in tokens)
        return {"delta": {"content": text} if text else {}, "logprobs": _logprobs(tokens, tokenizer)}


def _logprobs(tokens: Sequence[TextToken], tokenizer: Any) -> dict[str, Any] | None:
    likely = [(token, token.likelihood) for token in tokens if token.likelihood is not None]
    if not likely:
        return None
    return {
        "content": [
            {
                **_spelt(token.text, likelihood.logprob),
                "top_logprobs": [
                    _spelt(tokenizer.decode([other]), logprob) for other, logprob in likelihood.alternatives
                ],
            }
            for token, likelihood in likely
        ],
        "refusal": None,
    }


def _spelt(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}
