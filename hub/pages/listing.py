"""Libraries as the pages list them."""

from typing import Any

from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.fields.json import KeyTransform

from hub.adapters.models import Adapter, Release
from hub.adapters.permissions import visible_adapters
from hub.clusters import queries as clusters
from hub.errors import NotFound
from hub.indexes.models import IndexMember
from hub.library.models import Library
from hub.library.permissions import Visitor


def shelf() -> QuerySet[Library]:
    """Every library with what its card says: current version, adapters, last contribution."""
    open_adapters = Q(adapters__private=False)
    return Library.objects.select_related("current").annotate(
        adapter_count=Count("adapters", filter=open_adapters, distinct=True),
        last_contribution=Max("adapters__releases__created_at", filter=open_adapters),
    )


def library_called(slug: str) -> Library:
    """Raises NotFound."""
    library = Library.objects.select_related("current", "maintainer").filter(slug=slug).first()
    if library is None:
        raise NotFound(f"There is no library {slug!r} here.")
    return library


def clusters_of(library: Library) -> dict[str, Any] | None:
    """The newest clustering with its groups, if the library was clustered."""
    found = clusters.newest_clustering(library.pk)
    return None if found is None else {"clustering": found, "groups": clusters.groups(found)}


def adapters_of(library: Library, visitor: Visitor) -> QuerySet[Adapter]:
    """The adapters that the visitor may know of, each with its newest release and what is served of it."""
    known = with_newest(visible_adapters(visitor).filter(library=library))
    return known.annotate(served_number=Subquery(_served(library)))


def with_newest(adapters: QuerySet[Adapter]) -> QuerySet[Adapter]:
    """Adds what lists say of each adapter's newest release, in the same query; the last contributed first."""
    newest = Release.objects.filter(adapter=OuterRef("pk")).order_by("-number")
    measured = newest.exclude(statistics={})
    return (
        adapters.select_related("owner", "library")
        .annotate(
            newest_number=Subquery(newest.values("number")[:1]),
            newest_status=Subquery(newest.values("status")[:1]),
            newest_at=Subquery(newest.values("created_at")[:1]),
            newest_yanked_at=Subquery(newest.values("yanked_at")[:1]),
            newest_quarantined_at=Subquery(newest.values("quarantined_at")[:1]),
            summary=Subquery(measured.annotate(_s=KeyTransform("summary", "statistics")).values("_s")[:1]),
            expert_size=Subquery(measured.values("factors_size")[:1]),
        )
        .order_by(F("newest_at").desc(nulls_last=True), "pk")
    )


def _served(library: Library) -> QuerySet[IndexMember, Any]:
    """The release number that the current version serves for the adapter of the outer query."""
    number = library.current.number if library.current else 0
    return (
        IndexMember.objects.filter(library=library, release__adapter=OuterRef("pk"), since__lte=number)
        .filter(Q(until=None) | Q(until__gt=number))
        .values("release__number")[:1]
    )
