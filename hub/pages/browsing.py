"""The page of all adapters, as templates show it: facets, list, and what to do when nothing is found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Page, Paginator
from django.http import HttpRequest

from hub.adapters.models import Adapter
from hub.library.models import Library
from hub.search import asking, facets, meanings
from hub.search.asking import Asked
from hub.search.facets import FACETS, OWNER, RANK, TASK, Facet
from hub.search.finding import ALL, Found

A_PAGE = 30
MOST_SHOWN = 8
NEAREST = "Nearest in meaning"
PARTS = {asking.WORDS: "the words", asking.TAG: "the tag", ALL: "any filter"}


@dataclass(frozen=True)
class Choice:
    """A value of a facet: chosen or not, how many there are of it, and the address that changes that."""

    label: str
    count: int
    is_chosen: bool
    query: str


@dataclass(frozen=True)
class Group:
    """A facet with the values that are worth showing; the others follow on request."""

    name: str
    title: str
    shown: list[Choice]
    more: list[Choice]


@dataclass(frozen=True)
class Filter:
    """Something that narrows the search, and the address without it."""

    title: str
    label: str
    query: str


def browse_page(request: HttpRequest) -> dict[str, Any]:
    """Raises Invalid."""
    asked = asking.asked(request.GET)
    found = Found(request.user, asked)
    pages = Paginator(found.adapters, A_PAGE)
    pages.count = found.total
    page = pages.get_page(request.GET.get(asking.PAGE))
    names = _library_names(found)
    narrowed = list(_filters(asked, names))
    return {
        "asked": asked,
        "page": page,
        "total": found.total,
        "groups": list(_groups(found, names)),
        "filters": narrowed,
        "sorts": [("", NEAREST, True)] if found.is_by_meaning else list(_sorts(asked)),
        "can_mean": meanings.wanted() is not None,
        "is_by_meaning": found.is_by_meaning,
        "note": found.note,
        "without_filters": asked.with_words_alone().query(),
        "hints": [] if found.total else list(_hints(found)),
        "previous": asked.query(page.number - 1) if page.has_previous() else "",
        "next": asked.query(page.number + 1) if page.has_next() else "",
        "said": _said(page, found),
    }


def _said(page: Page[Adapter], found: Found) -> str:
    """What a screen reader hears after each search."""
    count = page.paginator.count
    if not count:
        return "No adapter found"
    how = ", the nearest first" if found.is_by_meaning else " found" if found.asked.is_anything else ""
    return f"{count:,} adapter{'' if count == 1 else 's'}{how}"


def _library_names(found: Found) -> dict[str, str]:
    """How libraries are called, where there is more than one to tell apart."""
    slugs = {*found.counts.of[facets.LIBRARY], *found.asked.chosen.get(facets.LIBRARY, ())}
    if len(slugs) == 1 and facets.LIBRARY not in found.asked.chosen:
        return {}
    return dict(Library.objects.filter(slug__in=slugs).values_list("slug", "name"))


def _label(facet: Facet, value: str, names: Mapping[str, str]) -> str:
    return names.get(value, value) if facet.name == facets.LIBRARY else facet.label(value)


def _groups(found: Found, names: Mapping[str, str]) -> Iterator[Group]:
    """The facets that tell something apart. What is chosen comes first, but ranks stay in their order."""
    for facet in FACETS:
        choices = list(_choices(facet, found, names))
        if len(choices) > 1 or any(choice.is_chosen for choice in choices):
            shown = choices if facet.name == RANK else sorted(choices, key=lambda one: not one.is_chosen)
            yield Group(facet.name, facet.title, shown[:MOST_SHOWN], shown[MOST_SHOWN:])
        if facet.name == TASK:
            yield from _tags(found)


def _tags(found: Found) -> Iterator[Group]:
    """What is chosen comes first, then the tags of most."""
    asked, counts = found.asked, dict(found.tags)
    choices = [
        Choice(tag, counts.get(tag, 0), tag in asked.tags, asked.tag_toggled(tag).query())
        for tag in dict.fromkeys([*asked.tags, *counts])
    ]
    if len(choices) > 1 or asked.tags:
        yield Group(asking.TAG, facets.TAG_TITLE, choices[:MOST_SHOWN], choices[MOST_SHOWN:])


def _choices(facet: Facet, found: Found, names: Mapping[str, str]) -> Iterator[Choice]:
    chosen = found.asked.chosen.get(facet.name, ())
    counts = dict(found.owners if facet.name == OWNER else found.counts.of[facet.name].most_common())
    values = [band.value for band in facets.BANDS] if facet.name == RANK else counts
    for value in dict.fromkeys([*values, *chosen]):
        if value and (counts.get(value) or value in chosen):
            query = found.asked.toggled(facet.name, value).query()
            yield Choice(_label(facet, value, names), counts.get(value, 0), value in chosen, query)


def _filters(asked: Asked, names: Mapping[str, str]) -> Iterator[Filter]:
    for facet in FACETS:
        for value in asked.chosen.get(facet.name, ()):
            yield Filter(facet.title, _label(facet, value, names), asked.toggled(facet.name, value).query())
    for tag in asked.tags:
        yield Filter("Tag", tag, asked.tag_toggled(tag).query())


def _sorts(asked: Asked) -> Iterator[tuple[str, str, bool]]:
    """Value, label, whether it is the order now. The usual one has no value: words change what it is."""
    usual = asked.usual_order
    yield "", asking.SORTS[usual], asked.order == usual
    for value, label in asking.SORTS.items():
        if value not in {usual, "best"}:
            yield value, label, value == asked.order


def _hints(found: Found) -> Iterator[tuple[str, str, int]]:
    """What to leave out, the address without it, and how many that finds; what finds most comes first."""
    titles = {facet.name: f"the choice in {facet.title}" for facet in FACETS}
    loosened = sorted(found.loosened(), key=lambda one: -one[2])
    for name, without, count in loosened:
        if count:
            yield (PARTS | titles)[name], without.query(), count
