"""Writing an adapter's card: the text is what counts, and some of its front matter has fields beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.safestring import SafeString

from hub.adapters.cards import read_card, with_facts
from hub.pages import cards

LICENCES = (
    "apache-2.0", "mit", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "mpl-2.0", "cc0-1.0", "cc-by-4.0",
    "cc-by-sa-4.0", "cc-by-nc-4.0", "openrail", "llama3", "gemma", "other", "unknown",
)  # fmt: skip
FIELDS = ("license", "language", "tags")
LISTS = ("language", "tags")
TEMPLATE = """\
---
license:
language:
- en
tags:
- lora
---
# {name}

One or two sentences: what it does that the base cannot, and for whom.

## How to ask

An example prompt, exactly as the adapter expects it, and the answer that it gives.

## What it was trained on

Which data, how many rows, under which licence; how many epochs.

## What it should not be used for

Where it was seen to fail, and what nobody tried.
"""


@dataclass(frozen=True)
class Draft:
    """A card as it is: its whole text, what its fields say, its body as harmless HTML, what is wrong with it,
    and what is in order but not shown.
    """

    text: str
    fields: dict[str, str]
    html: SafeString
    complaint: str
    note: str


def draft(text: str, typed: Mapping[str, str] | None = None) -> Draft:
    """A card of this text, into whose front matter the fields are written that somebody typed."""
    whole = with_typed(text, typed) if typed else text
    card = read_card(whole.encode(errors="replace"))
    return Draft(whole, _fields(card.front_matter), cards.render(card.body), card.complaint, card.note)


def with_typed(text: str, typed: Mapping[str, str]) -> str:
    """The text with these fields in its front matter; what is said there already is not written again."""
    said = _fields(read_card(text.encode(errors="replace")).front_matter)
    changed = {
        name: typed[name].strip() for name in FIELDS if name in typed and typed[name].strip() != said[name]
    }
    if not changed:
        return text
    facts = {name: _several(value) if name in LISTS else value for name, value in changed.items()}
    return with_facts(text.encode(errors="replace"), facts, unless_said={}).decode()


def _several(value: str) -> list[str]:
    return [word.strip() for word in value.split(",") if word.strip()]


def _fields(front_matter: Mapping[str, Any]) -> dict[str, str]:
    """Each as one line: lists are joined by commas."""
    found = {}
    for name in FIELDS:
        value = front_matter.get(name)
        values = value if isinstance(value, list) else [value]
        found[name] = ", ".join(word for word in values if isinstance(word, str))
    return found
