"""Model names: `library`, `library@3`, `library/base`, `library/owner/adapter`."""

from __future__ import annotations

import re
from dataclasses import dataclass

NAME = re.compile(
    r"(?P<library>[\w.-]{1,96})(?:@(?P<version>[1-9]\d{0,8})|/(?P<base>base)|/(?P<expert>[\w.-]{1,96}/[\w.-]{1,96}))?",
    re.ASCII,
)


@dataclass(frozen=True)
class Base:
    """The plain base of a library."""

    library: str


@dataclass(frozen=True)
class Routed:
    """A library's routed model, at a version (None: the current one)."""

    library: str
    version: int | None


@dataclass(frozen=True)
class Single:
    """One expert of a library's current version, alone."""

    library: str
    expert: str


Address = Base | Routed | Single


def parse(name: str) -> Address | None:
    """What a model name speaks of; None if it is no model name."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    if match["base"]:
        return Base(match["library"])
    if match["expert"]:
        return Single(match["library"], match["expert"])
    return Routed(match["library"], int(match["version"]) if match["version"] else None)
