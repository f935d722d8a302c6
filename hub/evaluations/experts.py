"""Which experts of an evaluation a visitor may know of: one that became private later stays in its rows."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.db.models import Value
from django.db.models.functions import Concat

from hub.adapters.permissions import visible_adapters
from hub.library.models import Library
from hub.library.permissions import Visitor


def visible_rows(rows: Iterable[Mapping[str, Any]], known: set[str]) -> list[Mapping[str, Any]]:
    """Without single experts that the visitor may not know of."""
    return [row for row in rows if row["kind"] != "expert" or row["variant"] in known]


def known_experts(names: Iterable[str], visitor: Visitor, library: Library) -> set[str]:
    """Of these full names those of adapters that the visitor may know of."""
    full = Concat("owner__username", Value("/"), "name")
    adapters = visible_adapters(visitor).filter(library=library).annotate(full=full)
    return set(adapters.filter(full__in=list(names)).values_list("full", flat=True))
