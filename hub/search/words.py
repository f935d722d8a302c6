"""Words, as adapters are found by them: one way to take a text apart for both databases and for what
people type.

A word is a run of letters and digits without case and without accents (Unicode's compatibility decomposition
less its nonspacing marks), so that it holds nothing that a query language of any database would read as its
own. Languages that write no spaces are found character by character.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator

LONGEST = 64  # characters of a word; what is longer is cut, here and in what is typed
MOST = 1_500  # words of an adapter; a card that says more is found by its first ones
MOST_TYPED = 16  # words of a search
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
ADDRESS = re.compile(r"\bhttps?://\S+")
UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f])")


def words(text: str) -> list[str]:
    """The words of a text in their order, each once."""
    return list(dict.fromkeys(_words(text)))


def typed(text: str) -> list[str]:
    """The words that somebody searches for: each begins a word of what is found."""
    return words(text)[:MOST_TYPED]


def document(texts: Iterable[str]) -> str:
    """All words of some texts, the first ones first, with a space between two. Names in CamelCase count as
    one word and as several.
    """
    found: dict[str, None] = {}
    for text in texts:
        said = ADDRESS.sub(" ", text)
        for word in (*_words(said), *_words(CAMEL.sub(" ", said))):
            found.setdefault(word)
        if len(found) >= MOST:
            break
    return " ".join(list(found)[:MOST])


def _words(text: str) -> Iterator[str]:
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    spaced = "".join(_said(character) for character in plain)
    for word in UNSPACED.sub(r" \1 ", spaced).split():
        yield word[:LONGEST]


def _said(character: str) -> str:
    """A letter or digit as it is, an accent as nothing, and all else as a space."""
    if character.isalnum():
        return character
    match unicodedata.category(character):
        case "Mn":
            return ""
        case "Mc":
            return character
        case _:
            return " "
