"""Experts that were taken out of a library for good reason: versions that have them are not to be served."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from routing.digests import canonical_json


@dataclass(frozen=True)
class HeldBack:
    """An expert, and the versions that have it: those of the numbers `since` up to before `until`."""

    expert: str
    since: int
    until: int

    def __contains__(self, number: int) -> bool:
        return self.since <= number < self.until


def to_document(held_back: Iterable[HeldBack]) -> bytes:
    """The document that lists them."""
    return canonical_json({"held_back": [asdict(one) for one in held_back]})


def from_document(content: bytes) -> tuple[HeldBack, ...]:
    """What a document lists; ValueError, TypeError or KeyError if it is broken."""
    return tuple(_held_back(one) for one in json.loads(content)["held_back"])


def of_version(held_back: Sequence[HeldBack], number: int) -> list[str]:
    """Whom of them the version of this number has, sorted."""
    return sorted({one.expert for one in held_back if number in one})


def _held_back(found: dict[str, Any]) -> HeldBack:
    expert, since, until = found["expert"], found["since"], found["until"]
    if not (isinstance(expert, str) and isinstance(since, int) and isinstance(until, int)):
        raise TypeError(f"found {found}, expected a name and two numbers")
    return HeldBack(expert, since, until)
