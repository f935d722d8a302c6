"""Guides that hold an answer to a grammar: which tokens may come next is computed by llguidance.

A mask costs some tenths of a millisecond (`python -m bench.guides`), a pass of the base tens of milliseconds,
so it is made where the answer goes on: on the model's thread. What reading a vocabulary or a grammar takes is
paid before that, by the thread of the request.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from routing.generation import end_tokens
from routing.guidance import GuideLost
from routing.routed import RoutedModel
from workers.serving.errors import invalid
from workers.serving.followers import Follower, Known, TextFollower
from workers.serving.vocabulary import Unguidable, read_vocabulary

# A stranger's grammar must not hold the model's thread or fill the memory: some ten milliseconds a token by
# llguidance's own figures, and a state takes one or two kilobytes. Messages come without the parser's state.
LIMITS = LLParserLimits(
    step_lexer_fuel=200_000, step_max_items=200_000, max_lexer_states=20_000, verbose_errors=False
)


@dataclass(frozen=True)
class Grammar:
    """The form of an answer in llguidance's notation, and the field of the request that prescribed it.

    A `spoken` one is of free text, in which some things are held to a form.
    """

    text: str
    param: str
    spoken: bool = False


class Guides:
    """Makes guides. The vocabulary of each base is read once, when somebody first prescribes a form."""

    def __init__(self) -> None:
        self._vocabularies: WeakKeyDictionary[RoutedModel, LLTokenizer] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def begin(self, grammar: Grammar, model: RoutedModel, count: int) -> list[Follower]:
        """So many guides along one grammar; ApiError if it is none, or the base cannot say what it asks."""
        not_kept = self.require(grammar, model)
        vocabulary = self.vocabulary(model, grammar.param)
        matcher = LLMatcher(vocabulary, grammar.text, log_level=0, limits=LIMITS)
        size = model.base.spec.vocabulary
        ends = [token for token in end_tokens(model) if token < size]
        kind = partial(TextFollower, words=vocabulary, known=Known()) if grammar.spoken else Follower

        def follower() -> Follower:
            return kind(matcher.deep_copy(), size, ends, not_kept=not_kept)

        _require_beginning(follower(), vocabulary, grammar.param)
        if grammar.spoken:
            _look_ahead(follower(), vocabulary)
        return [follower() for _ in range(count)]

    def require(self, grammar: Grammar, model: RoutedModel) -> tuple[str, ...]:
        """What of its schemas a grammar leaves out; ApiError if it is none."""
        vocabulary = self.vocabulary(model, grammar.param)
        wrong, said = LLMatcher.validate_grammar_with_warnings(grammar.text, vocabulary, limits=LIMITS)
        if wrong:
            raise invalid(grammar.param, "; ".join(said))
        return tuple(dict.fromkeys(said))

    def vocabulary(self, model: RoutedModel, param: str) -> LLTokenizer:
        """The vocabulary of a model's base as guides read it; ApiError where nobody can."""
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


def _look_ahead(follower: Follower, vocabulary: LLTokenizer) -> None:
    """Have it find what may follow plain text, before the model's thread would have to."""
    with contextlib.suppress(GuideLost):
        for token in vocabulary.greedy_tokenize("a"):
            follower.hear(token)
        follower.allowed()
