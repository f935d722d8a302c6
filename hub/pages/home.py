"""The first page: the hub's libraries, each with what one wants to know before opening it."""

from collections.abc import Iterator
from dataclasses import dataclass

from django.core.paginator import Page, Paginator

from hub.evaluations import queries as evaluations
from hub.library.models import Library
from hub.pages import listing, sparklines
from hub.pages.sparklines import Sparkline

A_PAGE = 24


@dataclass(frozen=True)
class Card:
    """A library, and how well it answered over its versions where somebody measured that."""

    library: Library
    scores: Sparkline | None


def libraries(number: str | None) -> Page[Library]:
    """One page of the libraries, by name of address."""
    return Paginator(listing.shelf(), A_PAGE).get_page(number)


def cards(shown: Page[Library]) -> Iterator[Card]:
    """One read for the scores of all of them."""
    courses = evaluations.courses([library.pk for library in shown])
    for library in shown:
        course = courses.get(library.pk)
        yield Card(library, sparklines.of_course(course) if course else None)
