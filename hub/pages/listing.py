"""Libraries as the pages list them, and adapters where a page shows some of them: all found by one search."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Coalesce

from hub.accounts.models import User
from hub.adapters.models import Adapter
from hub.errors import NotFound
from hub.library.models import Library
from hub.library.permissions import Visitor
from hub.search.asking import Asked
from hub.search.facets import LIBRARY, OWNER
from hub.search.finding import Found
from hub.search.models import Entry
from hub.search.ranking import Ranked

NAME_OF_BASE = KeyTextTransform("name", "base_spec")


def shelf() -> QuerySet[Library]:
    """Every library with what its card says: current version, adapters, last contribution.

    Both are looked up by an index, however many adapters there are; `base_name` stands for the whole spec,
    which names every module of the base.
    """
    return (
        Library.objects.select_related("current")
        .defer("base_spec")
        .annotate(
            adapter_count=Coalesce(Subquery(_count()), 0),
            last_contribution=Subquery(_last_contribution()),
            base_name=NAME_OF_BASE,
        )
    )


def library_called(slug: str) -> Library:
    """Raises NotFound."""
    library = Library.objects.select_related("current", "maintainer").filter(slug=slug).first()
    if library is None:
        raise NotFound(f"There is no library {slug!r} here.")
    return library


def person_called(username: str) -> User:
    """A person or an organisation. Raises NotFound."""
    found = User.objects.filter(username=username, is_active=True).first()
    if found is None:
        raise NotFound(f"There is nobody called {username} here.")
    return found


def adapters_of(library: Library, visitor: Visitor) -> Ranked:
    """A library's adapters that the visitor may know of, the last contributed first."""
    return Found(visitor, Asked(chosen={LIBRARY: (library.slug,)}, sort="new")).matched


def contributions_of(person: User, visitor: Visitor) -> Ranked:
    """A person's adapters that the visitor may know of, the last contributed first."""
    return Found(visitor, Asked(chosen={OWNER: (person.username,)}, sort="new")).matched


def served(library: Library, adapters: Iterable[Adapter]) -> set[int]:
    """Which of these adapters (by id) have a release in the version that is served now."""
    if library.current is None:
        return set()
    members = library.current.memberships().filter(release__adapter__in=[one.pk for one in adapters])
    return set(members.values_list("release__adapter", flat=True))


def _open_adapters() -> QuerySet[Adapter]:
    """Of the library of the outer query."""
    return Adapter.objects.filter(library=OuterRef("pk"), private=False, deleted_at=None)


def _count() -> QuerySet[Adapter, Any]:
    return _open_adapters().order_by().values("library").annotate(number=Count("pk")).values("number")


def _last_contribution() -> QuerySet[Entry, Any]:
    """The newest release of any of its adapters, by the entries that lists are sorted by."""
    entries = Entry.objects.filter(
        adapter__library=OuterRef("pk"),
        adapter__private=False,
        adapter__deleted_at=None,
        newest_at__isnull=False,
    )
    return entries.order_by("-newest_at").values("newest_at")[:1]
