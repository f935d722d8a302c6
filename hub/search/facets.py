"""What adapters are told apart by in lists, and how many there are of each.

The counts of a facet are of what the search's words and the other facets leave, so that they say what
choosing another value would give.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from django.db.models import Q

from hub.search.models import Entry

OPEN_ENDED = 1_000_000


@dataclass(frozen=True)
class Facet:
    """A name in addresses, its title, the column that it looks at, and how values are called on pages."""

    name: str
    title: str
    column: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def label(self, value: str) -> str:
        return self.labels.get(value, value)


@dataclass(frozen=True)
class Band:
    """Ranks that are counted together."""

    value: str
    label: str
    least: int
    most: int


BANDS = (
    Band("1-4", "up to 4", 1, 4),
    Band("5-8", "5 to 8", 5, 8),
    Band("9-16", "9 to 16", 9, 16),
    Band("17-32", "17 to 32", 17, 32),
    Band("33-64", "33 to 64", 33, 64),
    Band("65-", "65 and more", 65, OPEN_ENDED),
)
LIBRARY, TASK, RANK, OWNER = "library", "task", "rank", "owner"
FACETS = (
    Facet(LIBRARY, "Library", "library__slug"),
    Facet(TASK, "Task", "entry__task"),
    Facet("kind", "Kind", "entry__kind", {value: label for value, label in Entry.Kind.choices if value}),
    Facet(RANK, "Rank", "entry__rank", {band.value: band.label for band in BANDS}),
    Facet("licence", "Licence", "entry__licence"),
    Facet("status", "Status", "entry__standing", dict(Entry.Standing.choices)),
    Facet(OWNER, "Owner", "owner__username"),
)
# An adapter has many tags, and what is asked for has all of those that are chosen: they are counted by
# themselves, without those that say no more than another facet, or what every adapter is.
TAG_TITLE = "Tags"
SAID_ELSEWHERE = ("peft", *(value for value in Entry.Kind.values if value))
# Everybody's adapters would be a group of their own: owners are counted by themselves.
COUNTED = tuple(facet for facet in FACETS if facet.name != OWNER)
Chosen = Mapping[str, Sequence[str]]


def band_of(rank: object) -> str:
    if not isinstance(rank, int):
        return ""
    return next((band.value for band in BANDS if band.least <= rank <= band.most), "")


def condition(facet: Facet, values: Sequence[str]) -> Q:
    """Any of these values."""
    if facet.name != RANK:
        return Q(**{f"{facet.column}__in": values})
    ranks = Q(pk__in=[])
    for band in BANDS:
        if band.value in values:
            ranks |= Q(entry__rank__range=(band.least, band.most))
    return ranks


@dataclass(frozen=True)
class Counts:
    """How many adapters there are of each value of each facet, and how many that all choices leave."""

    of: Mapping[str, Counter[str]]
    total: int

    def without(self, name: str) -> int:
        """How many there would be if nothing were chosen in this facet."""
        return sum(self.of[name].values())


def count(groups: Iterable[tuple[tuple[str, ...], int]], chosen: Chosen) -> Counts:
    """From how many adapters have the same values in all of COUNTED: whatever misses one choice alone counts
    in that facet, and what misses none counts in all.
    """
    of: dict[str, Counter[str]] = {facet.name: Counter() for facet in COUNTED}
    total = 0
    for values, number in groups:
        said = dict(zip(of, values, strict=True))
        missed = [name for name, value in said.items() if chosen.get(name) and value not in chosen[name]]
        if not missed:
            total += number
        if len(missed) <= 1:
            for name in missed or said:
                of[name][said[name]] += number
    return Counts(of, total)
