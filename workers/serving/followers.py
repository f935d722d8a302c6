"""Guides along a grammar of llguidance's: which tokens may come next."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from llguidance import LLMatcher, LLTokenizer
from torch import Tensor

from routing.guidance import GuideLost
from workers.serving.tool_calls import CLOSE, NAME, OPEN, PARTS, beginnings

NOTHING = "no token of this base can continue the answer in its form"
MARK, MARK_BEHIND = OPEN.encode(), CLOSE.encode()
MARK_BEGUN = tuple(MARK[:length] for length in range(1, len(MARK)))
CALL_BEGUN = re.compile(beginnings((*PARTS, NAME)).encode())
LONGEST = 300  # bytes of what begins a call, a mark before it included


@dataclass
class Known:
    """The tokens that are allowed where no call can have begun, once somebody has found them."""

    allowed: Bool[Tensor, " vocabulary"] | None = None


class Follower:
    """A guide along one grammar over a vocabulary of this many tokens, some of which end an answer.

    `not_kept` says what of a schema that is not strict the grammar leaves out.
    """

    def __init__(
        self, matcher: LLMatcher, vocabulary: int, ends: Sequence[int], *, not_kept: tuple[str, ...] = ()
    ) -> None:
        self.not_kept = not_kept
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
            raise GuideLost(first_line(self._matcher.get_error()) or NOTHING)
        return torch.from_numpy(bits).bool()

    def hear(self, token: int) -> None:
        """Go on behind a token; GuideLost if the grammar turned out to be too much to follow."""
        if not self._matcher.consume_token(token):
            raise GuideLost(first_line(self._matcher.get_error()))


class TextFollower(Follower):
    """A guide along free text in which calls are held to a form (`call_grammars.text_with_calls`).

    Where no call can have begun nearly every token is allowed, and the same ones at every such place. To find
    them is a walk through the whole vocabulary, so they are kept in `known`, which a request's answers share.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        vocabulary: int,
        ends: Sequence[int],
        *,
        words: LLTokenizer,
        known: Known,
        not_kept: tuple[str, ...] = (),
    ) -> None:
        super().__init__(matcher, vocabulary, ends, not_kept=not_kept)
        self._words = words
        self._known = known
        self._text = FreeText()

    def allowed(self) -> Bool[Tensor, " vocabulary"]:
        if not self._text.plain:
            return super().allowed()
        if self._known.allowed is None:
            self._known.allowed = super().allowed()
        return self._known.allowed

    def hear(self, token: int) -> None:
        super().hear(token)
        if self._words.is_special_token(token):
            self._text.part()
        else:
            self._text.hear(self._words.decode_bytes([token]), called=not self._matcher.is_accepting())


class FreeText:
    """Bytes of an answer since its last call, or the last token that is no text to the grammar."""

    def __init__(self) -> None:
        self.part()

    def part(self) -> None:
        """Begin anew behind a token that is no text."""
        self._said = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._called = False

    def hear(self, said: bytes, *, called: bool) -> None:
        """Go on behind these bytes, with which a call has begun and not ended if `called`."""
        self._said += said
        self._decoder.decode(said)
        if self._called and not called:
            self._said = bytearray(self._said.rpartition(MARK_BEHIND)[2])
        self._called = called

    @property
    def plain(self) -> bool:
        """Whether no call can have begun in it, nor a character that is not whole."""
        if self._called or self._decoder.getstate()[0] or self._said.endswith(MARK_BEGUN):
            return False
        recent = self._said[-LONGEST:]
        marked = recent.rfind(MARK)
        behind = recent[marked + len(MARK) :] if marked >= 0 else self._said
        return len(behind) > LONGEST or CALL_BEGUN.fullmatch(behind) is None


def first_line(message: str) -> str:
    """Without the state of the parser, which tells whoever asked nothing."""
    return message.partition("\n")[0]
