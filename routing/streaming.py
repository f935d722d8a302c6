"""From tokens to text while they come: characters only when they are whole, nothing behind a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from routing.sampling import Likelihood
from routing.voices import Voice

CONTEXT_TOKENS = 6  # tokenizers that mark word starts need what stood before to decide on a leading space
HELD_TOKENS = 8  # no character has more bytes than that: what is still undecodable then is not text
BROKEN = "\ufffd"


@dataclass(frozen=True)
class TextToken:
    """A token with the text it added: empty while a character is incomplete, cut at a stop string."""

    token: int
    text: str
    likelihood: Likelihood | None = None
    voice: Voice | None = None


class Detokenizer:
    """Decodes tokens one after another; the texts it returns joined are the text of all tokens."""

    def __init__(self, tokenizer: Any, context: Sequence[int] = ()) -> None:
        self._tokenizer = tokenizer
        self._tokens = list(context[-CONTEXT_TOKENS:])
        self._shown = len(self._tokens)
        self._start = 0

    def push(self, token: int) -> str:
        """The text that this token completes."""
        self._tokens.append(token)
        before, after = self._texts()
        waiting = len(self._tokens) - self._shown
        if after.endswith(BROKEN) and waiting < HELD_TOKENS:
            return ""
        self._start, self._shown = self._shown, len(self._tokens)
        return after[len(before) :]

    def rest(self) -> str:
        """What is left at the end: a character that never became whole."""
        before, after = self._texts()
        self._shown = len(self._tokens)
        return after[len(before) :]

    def _texts(self) -> tuple[str, str]:
        return self._decode(self._tokens[self._start : self._shown]), self._decode(
            self._tokens[self._start :]
        )

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text


class Speller:
    """Gives tokens their text, and holds them back while their character is incomplete."""

    def __init__(self, tokenizer: Any, context: Sequence[int] = ()) -> None:
        self._detokenizer = Detokenizer(tokenizer, context)
        self._held: list[TextToken] = []

    def push(self, token: int, likelihood: Likelihood | None, voice: Voice | None = None) -> list[TextToken]:
        """The tokens whose text is whole now."""
        spelt = TextToken(token, self._detokenizer.push(token), likelihood, voice)
        self._held.append(spelt)
        return self._take() if spelt.text else []

    def rest(self) -> list[TextToken]:
        """What is left at the end; the last token carries what its character has become."""
        text = self._detokenizer.rest()
        if self._held:
            self._held[-1] = replace(self._held[-1], text=text)
        return self._take()

    def _take(self) -> list[TextToken]:
        taken, self._held = self._held, []
        return taken


class StopWatch:
    """Holds tokens back while their text may be the beginning of a stop string, and cuts at the first one.

    First is the one that is complete first, of several the longest: however the text is cut into tokens.
    """

    def __init__(self, stop: Sequence[str]) -> None:
        self._followers = [_Follower(one) for one in stop]
        self._held: list[TextToken] = []
        self._length = 0  # characters of what is held
        self.stopped = False

    def push(self, token: TextToken) -> list[TextToken]:
        """The tokens that are now certain to belong to the answer."""
        before = self._length
        self._held.append(token)
        self._length += len(token.text)
        for place, character in enumerate(token.text, before + 1):
            if ended := [one.whole for one in self._followers if one.push(character)]:
                self.stopped = True
                return _cut(self._take(len(self._held)), place - max(ended))
        begun = max((one.begun for one in self._followers), default=0)
        return self._take(_whole_tokens(self._held, self._length - begun))

    def rest(self) -> list[TextToken]:
        """What was held back for a stop string that did not come."""
        return self._take(len(self._held))

    def _take(self, count: int) -> list[TextToken]:
        taken, self._held = self._held[:count], self._held[count:]
        self._length -= sum(len(token.text) for token in taken)
        return taken


class _Follower:
    """How much of one stop string the text ends with.

    Each character costs the same on average however much is held back (Knuth, Morris and Pratt: "Fast pattern
    matching in strings", 1977): this runs on the model's thread, between two tokens of everybody.
    """

    def __init__(self, stop: str) -> None:
        self._stop = stop
        self._shorter = [0]  # for each beginning of it: its longest other beginning that ends it too
        self.begun = 0
        for character in stop[1:]:
            self._shorter.append(self._after(character, self._shorter[-1]))

    @property
    def whole(self) -> int:
        """Its length in characters."""
        return len(self._stop)

    def push(self, character: str) -> bool:
        """Whether it is complete with this character, behind which nothing may be pushed."""
        self.begun = self._after(character, self.begun)
        return self.begun == len(self._stop)

    def _after(self, character: str, begun: int) -> int:
        while begun and self._stop[begun] != character:
            begun = self._shorter[begun - 1]
        return begun + (self._stop[begun] == character)


def _whole_tokens(tokens: Sequence[TextToken], length: int) -> int:
    """How many of the tokens lie wholly within the first `length` characters."""
    end = 0
    for count, token in enumerate(tokens):
        end += len(token.text)
        if end > length:
            return count
    return len(tokens)


def _cut(tokens: Sequence[TextToken], length: int) -> list[TextToken]:
    """The tokens of the first `length` characters, the last one shortened to fit."""
    kept: list[TextToken] = []
    for token in tokens:
        if length == 0:
            break
        kept.append(replace(token, text=token.text[:length]))
        length -= len(kept[-1].text)
    return kept
