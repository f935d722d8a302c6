"""Tokens as likelihoods name them: by their own bytes, so that the token which was drawn and those that might
have been are spelt alike. A decoder shows a token by itself otherwise than in its place, and half a
character as anything.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from routing.streaming import TextToken

BYTE = re.compile(r"<0x([0-9A-F]{2})>")  # how tokenizers with byte fallback spell a byte that has no token
WORD_MARK = "▁"
_PRINTED = [*range(33, 127), *range(161, 173), *range(174, 256)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTED]
# GPT-2's letters for bytes: printed ones stand for themselves, the others follow behind Latin-1
LETTERS = {chr(byte): byte for byte in _PRINTED} | {chr(256 + n): byte for n, byte in enumerate(_OTHERS)}


@dataclass(frozen=True)
class Spelt:
    r"""A token's bytes, and a text for them: `bytes:\xe2\x82` where they are no whole characters."""

    content: bytes

    @property
    def text(self) -> str:
        try:
            return self.content.decode()
        except UnicodeDecodeError:
            escaped = (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in self.content)  # noqa: PLR2004 - ASCII's printed characters
            return "bytes:" + "".join(escaped)


class Spelling:
    """How the tokens of one tokenizer are spelt."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        kinds = _decoding(tokenizer)
        self._letters = "ByteLevel" in kinds
        self._marks = not self._letters and bool({"Metaspace", "ByteFallback"} & kinds)

    def at(self, place: TextToken, token: int) -> Spelt:
        """`token` as it would stand where `place` does: the first word of a text has lost its space."""
        content = self._bytes(token)
        own = content if token == place.token else self._bytes(place.token)
        first = self._marks and own[:1] == b" " and place.text.encode() == own[1:]
        return Spelt(content[1:] if first and content[:1] == b" " else content)

    def _bytes(self, token: int) -> bytes:
        if not (self._letters or self._marks):
            return str(self._tokenizer.decode([token])).encode()
        piece = self._tokenizer.convert_ids_to_tokens(token) or ""  # models have more tokens than tokenizers
        return _of_letters(piece) if self._letters else of_piece(piece)


def of_piece(piece: str) -> bytes:
    """The bytes of a token of a tokenizer that marks where words begin."""
    byte = BYTE.fullmatch(piece)
    return bytes.fromhex(byte[1]) if byte else piece.replace(WORD_MARK, " ").encode()


def _of_letters(piece: str) -> bytes:
    """The bytes of a token of a byte-level tokenizer; what was added to those stands for itself."""
    found = [LETTERS.get(letter) for letter in piece]
    return piece.encode() if None in found else bytes(byte for byte in found if byte is not None)


def _decoding(tokenizer: Any) -> set[str]:
    """The kinds of steps by which a tokenizer makes text of tokens; none where that is not written down."""
    decoder = getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None)
    if decoder is None:
        return set()
    found = json.loads(decoder.__getstate__())
    return {step["type"] for step in found.get("decoders", [found])}
