"""The shape of POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from routing.sampling import Likelihood
from routing.streaming import TextToken
from workers.serving.shapes import Writing


class CompletionShape:
    """Text, with likelihoods as four parallel lists."""

    prefix = "cmpl"
    whole_object = "text_completion"
    chunk_object = "text_completion"

    def begin(self) -> Writing:
        return Writing()

    def whole(self, writing: Writing, tokenizer: Any) -> dict[str, Any]:
        return self.piece(writing.tokens, tokenizer, writing)

    def first(self) -> dict[str, Any] | None:
        return None

    def piece(self, tokens: Sequence[TextToken], tokenizer: Any, writing: Writing) -> dict[str, Any]:
        text = "".join(token.text for token in tokens)
        return {
            "text": text,
            "logprobs": _logprobs(tokens, tokenizer, writing.length - len(text)),
        }


def _logprobs(tokens: Sequence[TextToken], tokenizer: Any, offset: int) -> dict[str, Any] | None:
    """None unless likelihoods were asked for; the first token of an echo has none: nothing was before it."""
    if not any(token.likelihood for token in tokens):
        return None
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.likelihood.logprob if token.likelihood else None for token in tokens],
        "top_logprobs": [_alternatives(token.likelihood, tokenizer) for token in tokens],
        "text_offset": offsets,
    }


def _alternatives(likelihood: Likelihood | None, tokenizer: Any) -> dict[str, float] | None:
    if likelihood is None or not likelihood.alternatives:
        return None
    found: dict[str, float] = {}
    for token, logprob in likelihood.alternatives:
        found.setdefault(tokenizer.decode([token]), logprob)
    return found
