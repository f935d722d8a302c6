"""Adapter cards: README.md with a YAML front matter, which says what the adapter is and where it belongs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fletch.exits import CommandError, Exit

CARD_FILE = "README.md"
FENCE = "---"
LIBRARY = "fletch_library"  # the front matter's key for the library that an adapter is for
UNWRITTEN = "[More Information Needed]"  # what peft's own card says where nobody wrote anything


@dataclass(frozen=True)
class Card:
    """What a card says: facts for programs, and a text for people."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    body: str = ""

    @property
    def is_written(self) -> bool:
        """Whether a person wrote the text, rather than peft."""
        return bool(self.body.strip()) and UNWRITTEN not in self.body

    def __str__(self) -> str:
        front = yaml.safe_dump(dict(self.facts), sort_keys=False, allow_unicode=True, width=110)
        return f"{FENCE}\n{front}{FENCE}\n\n{self.body.strip()}\n"


def read_card(folder: Path) -> Card:
    """The card in a folder, an empty one where there is none. CommandError if its front matter is broken."""
    path = folder / CARD_FILE
    if not path.is_file():
        return Card()
    lines = path.read_text(encoding="utf-8", errors="replace").removeprefix("\ufeff").splitlines()
    if not lines or lines[0].strip() != FENCE:
        return Card(body="\n".join(lines))
    ends = [number for number, line in enumerate(lines[1:], start=1) if line.strip() == FENCE]
    if not ends:
        return Card(body="\n".join(lines))
    return Card(_facts(path, "\n".join(lines[1 : ends[0]])), "\n".join(lines[ends[0] + 1 :]))


def library_of(folder: Path) -> str | None:
    """The library that the card names."""
    named = read_card(folder).facts.get(LIBRARY)
    return named if isinstance(named, str) else None


def _facts(path: Path, front: str) -> Mapping[str, Any]:
    try:
        facts = yaml.safe_load(front)
    except yaml.YAMLError as error:
        raise CommandError(Exit.USAGE, f"{path}: its front matter is no YAML: {error}") from error
    if facts is not None and not isinstance(facts, dict):
        found = type(facts).__name__
        raise CommandError(Exit.USAGE, f"{path}: found a {found} as front matter, expected names and values")
    return facts or {}
