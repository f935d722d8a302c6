"""What a person contributed, day by day for a year and by library, as far as the visitor may know of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import Count, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import TruncDate
from django.utils import timezone

from hub.accounts.models import User
from hub.adapters.models import Release
from hub.adapters.permissions import visible_adapters
from hub.library.models import Library
from hub.library.permissions import Visitor
from hub.pages.phrases import plural

WEEKS = 53
CELL, GAP, TOP, LEFT = 10, 3, 18, 28
STEPS = (1, 2, 4, 8)  # releases on a day from which a cell is darker
MOST_LIBRARIES = 12


@dataclass(frozen=True)
class Day:
    """A cell of the calendar: 0 to 4 says how dark."""

    x: int
    y: int
    level: int
    label: str


@dataclass(frozen=True)
class Calendar:
    """A year as columns of weeks, Mondays on top."""

    days: list[Day]
    months: list[tuple[int, str]]
    total: int

    width: int = LEFT + WEEKS * (CELL + GAP)
    height: int = TOP + 7 * (CELL + GAP)
    cell: int = CELL
    weekdays: tuple[tuple[int, str], ...] = tuple(
        (TOP + row * (CELL + GAP) + CELL - 2, name) for row, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"))
    )


def calendar_of(person: User, visitor: Visitor) -> Calendar:
    """One question: how many releases on which day."""
    today = timezone.now().date()
    first = today - timedelta(days=today.weekday(), weeks=WEEKS - 1)
    theirs = Q(adapter__owner=person) if person.is_organisation else Q(commit__author=person)
    known = Release.objects.filter(theirs, adapter__in=visible_adapters(visitor), created_at__date__gte=first)
    counted = known.annotate(day=TruncDate("created_at")).order_by().values("day").annotate(count=Count("pk"))
    return drawn({row["day"]: row["count"] for row in counted}, first=first, last=today)


def drawn(counts: Mapping[date, int], *, first: date, last: date) -> Calendar:
    """The days from a Monday on, each where it belongs."""
    days, months = [], []
    for number in range((last - first).days + 1):
        day = first + timedelta(days=number)
        x, y = LEFT + number // 7 * (CELL + GAP), TOP + number % 7 * (CELL + GAP)
        count = counts.get(day, 0)
        label = f"{plural(count, 'release') if count else 'Nothing'} on {day.day} {day:%b %Y}"
        days.append(Day(x, y, sum(count >= step for step in STEPS), label))
        if day.day == 1 and x + 2 * (CELL + GAP) < Calendar.width:
            months.append((x, f"{day:%b}"))
    return Calendar(days, months, sum(counts.values()))


def libraries_of(person: User, visitor: Visitor) -> QuerySet[Library, Any]:
    """Where adapters of this person are, most first, with how many the visitor may know of."""
    known = visible_adapters(visitor).filter(owner=person).order_by().values("library")
    counted = known.filter(library=OuterRef("pk")).annotate(count=Count("pk")).values("count")
    annotated = Library.objects.annotate(contributed=Subquery(counted))
    return annotated.filter(Q(contributed__gt=0)).order_by("-contributed", "slug")[:MOST_LIBRARIES]
