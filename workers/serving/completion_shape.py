"""The shape of POST /v1/completions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from routing.streaming import TextToken
from workers.serving.shapes import Writing
from workers.serving.spelling import Spelling


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
    spelling = Spelling(tokenizer)
    return {
        "tokens": [spelling.at(token, token.token).text for token in tokens],
        "token_logprobs": [token.likelihood.logprob if token.likelihood else None for token in tokens],
        "top_logprobs": [_alternatives(token, spelling) for token in tokens],
        "text_offset": offsets,
    }


def _alternatives(token: TextToken, spelling: Spelling) -> dict[str, float] | None:
    """The likeliest, and the token itself, by their spelling; what is spelt as another is, by its number."""
    likelihood = token.likelihood
    if likelihood is None or not likelihood.alternatives:
        return None
    found: dict[str, float] = {}
    own = spelling.at(token, token.token).text
    for other, logprob in dict([*likelihood.alternatives, (token.token, likelihood.logprob)]).items():
        name = spelling.at(token, other).text
        taken = other != token.token and (name == own or name in found)
        found[f"token_id:{other}" if taken else name] = logprob
    return found
