"""Adapter cards as data: the Markdown of a README, and what its front matter says.

YAML is read by the safe loader and without aliases, which can explode.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import yaml

from hub.adapters.written import EMPTY, written

README = "readme.md"
LARGEST_CARD = 64 * 1024
LONGEST_FACT = 200
MOST_FACTS = 20
DEEPEST = 8
LARGEST_NUMBER = 2**63
FENCE = "---"


@dataclass(frozen=True)
class Card:
    """What a README says: its body in Markdown as far as somebody wrote it, and its front matter as short
    texts and as plain JSON. `complaint` is what cannot be read, `note` what is in order but not shown.
    """

    body: str
    facts: dict[str, list[str]] = field(default_factory=dict)
    complaint: str = ""
    note: str = ""
    front_matter: dict[str, Any] = field(default_factory=dict)


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read here")
        return super().compose_node(parent, index)


def read_card(data: bytes) -> Card:
    """Parse a README. A front matter that is broken says so in `complaint`."""
    if len(data) > LARGEST_CARD:
        return Card(
            "", note=f"This card has more than {LARGEST_CARD // 1024} KiB and is not shown; download it."
        )
    head, whole = _split(_text(data))
    found = written(whole)
    body = found.body
    try:
        parsed = yaml.load(head, Loader=_PlainLoader)  # noqa: S506  a subclass of the safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return Card(
            body, complaint=f"The front matter of this card could not be read: {str(error).splitlines()[0]}"
        )
    front_matter = _plain(parsed, depth=DEEPEST)
    unfilled = f"{found.unfilled} places of this card still say {EMPTY} and are not shown."
    return Card(
        body,
        facts=_facts(parsed),
        note=unfilled if found.unfilled > 1 else "",
        front_matter=front_matter if isinstance(front_matter, dict) else {},
    )


def with_facts(data: bytes, facts: Mapping[str, Any], *, unless_said: Mapping[str, Any]) -> bytes:
    """The same card with more in its front matter: all of `facts`, and those of `unless_said` that are not
    there. What else was there stays; a front matter that nobody can read stays as text.
    """
    text = _text(data)
    head, body = _split(text)
    try:
        front = _with(yaml.load(head, Loader=_PlainLoader) or {}, facts, unless_said)  # noqa: S506  a safe one
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        front, body = _with({}, facts, unless_said), f"\n{text}"
    return f"{FENCE}\n{front}{FENCE}\n{body}".encode(errors="replace")


def _with(said: object, facts: Mapping[str, Any], unless_said: Mapping[str, Any]) -> str:
    """Raises TypeError where `said` is no front matter."""
    if not isinstance(said, dict):
        raise TypeError("a front matter has names and values")
    whole = {**said, **{name: value for name, value in unless_said.items() if name not in said}, **facts}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=float("inf"))


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace").replace("\r\n", "\n").removeprefix("\ufeff")


def _split(text: str) -> tuple[str, str]:
    lines = text.split("\n")
    if lines[0].strip() != FENCE or FENCE not in (line.strip() for line in lines[1:]):
        return "", text
    end = next(number for number, line in enumerate(lines[1:], start=1) if line.strip() == FENCE)
    return "\n".join(lines[1:end]), "\n".join(lines[end + 1 :])


def _facts(parsed: object) -> dict[str, list[str]]:
    """Scalars and lists of scalars; whatever is nested deeper is for programs and is left out."""
    if not isinstance(parsed, dict):
        return {}
    facts: dict[str, list[str]] = {}
    for name, value in list(parsed.items())[:MOST_FACTS]:
        values = value if isinstance(value, list) else [value]
        texts = [
            str(item)[:LONGEST_FACT] for item in values[:MOST_FACTS] if isinstance(item, str | int | float)
        ]
        if texts:
            facts[str(name)[:LONGEST_FACT]] = texts
    return facts


def _plain(value: object, *, depth: int) -> Any:
    """What JSON and every database can say of parsed YAML: dates become text; what is nested too deep, or is
    no number, becomes null.
    """
    match value:
        case str():
            return value.encode(errors="replace").decode().replace("\0", "")
        case int() | float() if abs(value) < LARGEST_NUMBER:  # no infinity, and nan is less than nothing
            return value
        case dict() if depth:
            return {
                _plain(str(name), depth=0): _plain(inner, depth=depth - 1) for name, inner in value.items()
            }
        case list() if depth:
            return [_plain(inner, depth=depth - 1) for inner in value]
        case date():
            return value.isoformat()
        case _:
            return None
