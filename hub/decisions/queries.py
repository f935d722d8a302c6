"""Reading a library's audit trail, seen by whom it may be seen."""

from django.db.models import Q, QuerySet

from hub.adapters.permissions import visible_adapters
from hub.decisions.models import Decision
from hub.library.models import Library
from hub.library.permissions import Visitor


def of_library(library: Library, visitor: Visitor) -> QuerySet[Decision]:
    """The newest first; those about adapters that the visitor may not know of are left out."""
    known = Q(release=None) | Q(release__adapter__in=visible_adapters(visitor).values("pk"))
    rows = Decision.objects.filter(known, library=library)
    return rows.select_related("by", "release__adapter__owner", "release__commit").defer(
        "release__findings", "release__statistics", "release__measurements", "release__fingerprint"
    )
