"""What is said on the card of the hub, a library, an adapter, and a person or organisation.

Everything is said as to somebody who is not signed in, whoever asks: cards are kept by other sites.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import Count, QuerySet, Sum
from django.db.models.functions import TruncWeek
from django.utils import timezone

from hub.accounts.models import User
from hub.adapters.models import Adapter, Release
from hub.adapters.permissions import visible_adapters
from hub.evaluations import queries as evaluations
from hub.indexes.models import IndexVersion
from hub.library.models import Library
from hub.pages import charts, phrases
from hub.pages.social.faces import Course, Face, Figure
from hub.pages.social.letters import writable
from hub.search.models import Entry

NAME, MEANING = "Fletch", "LoRA adapters, grown together and served as one model."
WEEKS = 26
FEWEST = 2  # values make a course
MOST_VERSIONS = 60
THOUSAND, MILLION, BILLION = 10**3, 10**6, 10**9
UNSERVED = {
    Entry.Standing.EXAMINED: "being examined",
    Entry.Standing.REJECTED: "rejected",
    Entry.Standing.QUARANTINED: "in quarantine",
    Entry.Standing.YANKED: "withdrawn",
    Entry.Standing.EMPTY: "no release yet",
}


def hub() -> Face:
    """Four questions to the database."""
    known = _open_adapters()
    experts = Library.objects.aggregate(sum=Sum("current__expert_count"))["sum"] or 0
    figures = (
        *_counted(Library.objects.count(), "library", "libraries"),
        *_counted(known.count(), "adapter", "adapters"),
        *_counted(experts, "expert served", "experts served"),
    )
    return Face(
        "A hub for adapters", NAME, MEANING, figures, _weekly(Release.objects.filter(adapter__in=known))
    )


def library(found: Library) -> Face:
    """Four questions to the database."""
    base = writable(str((found.base_spec or {}).get("name", "")))
    known = _open_adapters().filter(library=found)
    of = known.order_by().aggregate(adapters=Count("pk"), people=Count("owner", distinct=True))
    version = found.current
    figures = (
        *_counted(version.expert_count if version else 0, "expert", "experts"),
        *_counted(of["adapters"], "adapter", "adapters"),
        *_counted(of["people"], "contributor", "contributors"),
        *((Figure(str(version.number), "version"),) if version else ()),
    )
    under = f"Experts for {base}" if base else "Experts for one base model"
    return Face("Library", called(found), under, figures, _scores(found) or _growth(found))


def adapter(found: Adapter) -> Face:
    """Of a public one. Three questions to the database; figures are of what is served or may be."""
    entry = Entry.objects.filter(pk=found.pk).first()
    standing = Entry.Standing(entry.standing) if entry else Entry.Standing.EMPTY
    kind = entry.get_kind_display() if entry and entry.kind else "Adapter"
    under = f"{kind} for {called(found.library)}" if found.library else kind
    if standing in UNSERVED:
        return Face("Adapter", found.full_name, f"{under} · {UNSERVED[standing]}")
    newest = found.releases.filter(status=Release.Status.READY).only("statistics").order_by("-number").first()
    statistics: dict[str, Any] = newest.statistics if newest else {}
    figures = (
        *((Figure(str(entry.rank), "rank"),) if entry and entry.rank else ()),
        *_counted(statistics.get("parameters"), "parameter", "parameters"),
        *_counted(found.downloads_all_time, "download", "downloads"),
        *_counted(entry.likes if entry else 0, "like", "likes"),
    )
    return Face("Adapter", found.full_name, under, figures, _layers(statistics.get("modules", {})))


def person(found: User) -> Face:
    """A person or an organisation; two or three questions to the database."""
    known = _open_adapters().filter(owner=found)
    of = known.order_by().aggregate(adapters=Count("pk"), libraries=Count("library", distinct=True))
    people = found.members.filter(joined_at__isnull=False).count() if found.is_organisation else 0
    figures = (
        *_counted(of["adapters"], "adapter", "adapters"),
        *_counted(of["libraries"], "library", "libraries"),
        *_counted(people, "person", "people"),
    )
    kind = "Organisation" if found.is_organisation else "Contributor"
    under = "Contributes LoRA adapters" if of["adapters"] else f"Here since {found.date_joined.year}"
    return Face(kind, found.username, under, figures, _weekly(Release.objects.filter(adapter__in=known)))


def called(found: Library) -> str:
    """A library's name, or what it is called in addresses where our font cannot write its name."""
    return writable(found.name) or found.slug


def short(number: int) -> str:
    """A large number in three digits or fewer, as cards have room for."""
    for unit, mark in ((BILLION, "B"), (MILLION, "M"), (THOUSAND, "k")):
        if number >= 10 * unit:
            return f"{number // unit}{mark}"
        if number >= unit:
            return f"{number // (unit // 10) / 10:g}{mark}"
    return str(number)


def _counted(number: object, one: str, more: str) -> Iterator[Figure]:
    """Nothing is said of what there is none of."""
    if isinstance(number, int) and number > 0:
        yield Figure(short(number), one if number == 1 else more)


def _open_adapters() -> QuerySet[Adapter]:
    return visible_adapters(AnonymousUser())


def _weekly(releases: QuerySet[Release]) -> Course | None:
    """Releases by week, where there were any in two weeks or more of the last half year."""
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    first = today - timedelta(days=today.weekday(), weeks=WEEKS - 1)
    monday = first.date()
    recent = releases.filter(created_at__gte=first).annotate(week=TruncWeek("created_at")).order_by()
    counts = {row["week"].date(): row["count"] for row in recent.values("week").annotate(count=Count("pk"))}
    if len(counts) < FEWEST:
        return None
    weeks = (monday + timedelta(weeks=number) for number in range(WEEKS))
    return Course("Releases by week", tuple(float(counts.get(week, 0)) for week in weeks))


def _scores(found: Library) -> Course | None:
    """What its policy scored, version by version, on the suite that was asked last."""
    course = evaluations.courses([found.pk]).get(found.pk)
    if course is None or len(course.points) < FEWEST:
        return None
    suite = writable(course.suite) or "its suite"
    caption = f"{phrases.compact(course.points[-1].mean)} on {suite}, by version"
    return Course(caption, tuple(point.mean for point in course.points))


def _growth(found: Library) -> Course | None:
    published = IndexVersion.objects.filter(library=found, status=IndexVersion.Status.PUBLISHED)
    counts = published.order_by("-number").values_list("expert_count", flat=True)[:MOST_VERSIONS]
    values = tuple(float(count) for count in counts)[::-1]
    return Course("Experts by version", values) if len(values) >= FEWEST else None


def _layers(modules: dict[str, dict[str, Any]]) -> Course | None:
    """The norm of the update in each layer: the root of what its modules' squares add up to."""
    squares: dict[int, float] = defaultdict(float)
    for name, facts in modules.items():
        squares[charts.layer_and_kind(name)[0]] += float(facts.get("norm") or 0.0) ** 2
    if len(squares) < FEWEST:
        return None
    return Course("Size of the update by layer", tuple(squares[layer] ** 0.5 for layer in sorted(squares)))
