"""A base's vocabulary as the bytes of each token, the way that guides read it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from llguidance import LLTokenizer
from llguidance.hf import from_tokenizer

from routing.base import Base
from routing.errors import RoutingError
from workers.serving.spelling import of_piece


class Unguidable(RoutingError):
    """Nobody can tell from this tokenizer which bytes its tokens stand for."""


def read_vocabulary(base: Base, ends: Sequence[int]) -> LLTokenizer:
    """The vocabulary of a base, in which `ends` are the tokens that end an answer; Unguidable.

    Takes about a second for a hundred thousand tokens.
    """
    tokenizer = base.tokenizer
    if not getattr(tokenizer, "is_fast", False):
        raise Unguidable(f"found a {type(tokenizer).__name__}, expected one of the library `tokenizers`")
    size = max(base.spec.vocabulary, len(tokenizer))
    last = list(ends) or None
    try:
        if any(step.get("type") == "Metaspace" for step in _decoder(tokenizer)):
            return LLTokenizer(_Spelt(tokenizer, size), n_vocab=size, eos_token=last)  # type: ignore[arg-type]
        return from_tokenizer(tokenizer, n_vocab=size, eos_token=last)
    except ValueError as error:
        raise Unguidable(str(error)) from error


def _decoder(tokenizer: Any) -> Iterator[dict[str, Any]]:
    """The steps by which a tokenizer makes text of tokens."""
    decoder = json.loads(tokenizer.backend_tokenizer.to_str()).get("decoder") or {}
    yield from decoder.get("decoders", [decoder])


class _Spelt:
    """The tokens of a tokenizer that marks where words begin (Metaspace): llguidance itself reads none such.

    The attributes are those that llguidance asks for.
    """

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Any, size: int) -> None:
        self.eos_token_id = tokenizer.eos_token_id or 0
        self.bos_token_id = tokenizer.bos_token_id
        self.special_token_ids = sorted(set(tokenizer.all_special_ids))
        self.tokens = [b""] * size
        for word, token in tokenizer.get_vocab().items():
            self.tokens[token] = of_piece(word)
        plain = set(range(size)) - set(self.special_token_ids)
        self._places = {self.tokens[token]: token for token in sorted(plain, reverse=True)}
        self._longest = max(map(len, self._places), default=0)

    def __call__(self, text: str | bytes) -> list[int]:
        """Tokens that spell exactly this, the longest first; the tokenizer would put a space before it."""
        given, found = text.encode() if isinstance(text, str) else text, list[int]()
        start = 0
        while start < len(given):
            ends = range(min(len(given), start + self._longest), start, -1)
            end = next((end for end in ends if given[start:end] in self._places), None)
            if end is None:
                break  # a character without a token: what follows it cannot be said either
            found.append(self._places[given[start:end]])
            start = end
        return found
