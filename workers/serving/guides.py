"""Guides that hold an answer to a grammar: which tokens may come next is computed by llguidance.

A mask costs some tenths of a millisecond (`python -m bench.guides`), a pass of the base tens of milliseconds,
so it is made where the answer goes on: on the model's thread. What reading a vocabulary or a grammar takes is
paid before that, by the thread of the request.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from torch import Tensor

from routing.generation import end_tokens
from routing.guidance import GuideLost
from routing.routed import RoutedModel
from workers.serving.errors import invalid
from workers.serving.vocabulary import Unguidable, read_vocabulary

NOTHING = "no token of this base can continue the answer in its form"
# A stranger's grammar must not hold the model's thread or fill the memory: some ten milliseconds a token by
# llguidance's own figures, and a state takes one or two kilobytes. Messages come without the parser's state.
LIMITS = LLParserLimits(
    step_lexer_fuel=200_000, step_max_items=200_000, max_lexer_states=20_000, verbose_errors=False
)


@dataclass(frozen=True)
class Grammar:
    """The form of an answer in llguidance's notation, and the field of the request that prescribed it."""

    text: str
    param: str


class Follower:
    """A guide along one grammar over a vocabulary of this many tokens, some of which end an answer."""

    def __init__(self, matcher: LLMatcher, vocabulary: int, ends: Sequence[int]) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._ends = list(ends)

    @property
    def complete(self) -> bool:
        """Whether nothing may follow."""
        return self._matcher.is_stopped()

    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        """The tokens that the grammar allows next; GuideLost if there is none."""
        words = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        bits = np.unpackbits(words, bitorder="little", count=self._vocabulary)
        if not self._matcher.is_accepting():
            bits[self._ends] = 0  # llguidance would end an answer that it cannot continue
        if self._matcher.is_error() or not bits.any():
            raise GuideLost(_first_line(self._matcher.get_error()) or NOTHING)
        return torch.from_numpy(bits).bool()

    def hear(self, token: int) -> None:
        """Go on behind a token; GuideLost if the grammar turned out to be too much to follow."""
        if not self._matcher.consume_token(token):
            raise GuideLost(_first_line(self._matcher.get_error()))


class Guides:
    """Makes guides. The vocabulary of each base is read once, when somebody first prescribes a form."""

    def __init__(self) -> None:
        self._vocabularies: WeakKeyDictionary[RoutedModel, LLTokenizer] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def begin(self, grammar: Grammar, model: RoutedModel, count: int) -> list[Follower]:
        """So many guides along one grammar; ApiError if it is none, or the base cannot say what it asks."""
        vocabulary = self._vocabulary(model, grammar.param)
        wrong, said = LLMatcher.validate_grammar_with_warnings(grammar.text, vocabulary, limits=LIMITS)
        if wrong:
            raise invalid(grammar.param, "; ".join(said))
        matcher = LLMatcher(vocabulary, grammar.text, log_level=0, limits=LIMITS)
        size = model.base.spec.vocabulary
        ends = [token for token in end_tokens(model) if token < size]
        _require_beginning(Follower(matcher.deep_copy(), size, ends), vocabulary, grammar.param)
        return [Follower(matcher.deep_copy(), size, ends) for _ in range(count)]

    def _vocabulary(self, model: RoutedModel, param: str) -> LLTokenizer:
        with self._lock:
            found = self._vocabularies.get(model)
            if found is None:
                try:
                    found = read_vocabulary(model.base, sorted(end_tokens(model)))
                except Unguidable as error:
                    raise invalid(param, f"this base's answers cannot be guided: {error}") from error
                self._vocabularies[model] = found
            return found


def _require_beginning(follower: Follower, vocabulary: LLTokenizer, param: str) -> None:
    """Refuse a form that this base cannot even begin, as JSON where the vocabulary has no braces (T5's)."""
    try:
        first = follower.allowed().nonzero().flatten().tolist()
    except GuideLost as error:
        raise invalid(param, str(error)) from error
    if not any(vocabulary.decode_bytes([token]).strip() for token in first):
        raise invalid(param, "no token of this base can begin an answer in this form")


def _first_line(message: str) -> str:
    """Without the state of the parser, which tells whoever asked nothing."""
    return message.partition("\n")[0]
