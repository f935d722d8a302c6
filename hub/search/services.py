"""Keeping entries true. Whoever writes one has read what it says while holding its row, so that of two
changes the later one sees both.
"""

from typing import Any

from django.db import transaction
from django.db.models import F

from hub.adapters import history
from hub.adapters.models import Adapter
from hub.search import describing
from hub.search.models import Entry

AT_ONCE = 200


def describe_again(adapter: Adapter) -> None:
    """Its name, its library or its main changed."""
    entry = hold(adapter)
    _write(entry, describing.said(adapter, history.head(adapter)))


def judge_again(adapter: Adapter) -> None:
    """Something became of a release."""
    entry = hold(adapter)
    _write(entry, describing.stands(adapter))


def count_likes(adapter: Adapter, *, by: int) -> None:
    Entry.objects.filter(pk=adapter.pk).update(likes=F("likes") + by)


def reindex() -> int:
    """Write every entry that says something else than it should; how many they were. May run at any time."""
    known = Adapter.objects.order_by("pk").values_list("pk", flat=True)
    pks = list(known)
    return sum(_reindex(pks[start : start + AT_ONCE]) for start in range(0, len(pks), AT_ONCE))


def untrue(adapter: Adapter) -> list[str]:
    """The fields in which an adapter's entry says something else than it should; all where there is none."""
    wanted = describing.whole(adapter)
    entry = Entry.objects.filter(pk=adapter.pk).first()
    return [name for name, value in wanted.items() if entry is None or getattr(entry, name) != value]


@transaction.atomic
def _reindex(pks: list[int]) -> int:
    changed = 0
    for adapter in Adapter.objects.filter(pk__in=pks).select_related("owner").order_by("pk"):
        entry = hold(adapter)
        changed += _write(entry, describing.whole(adapter))
    return changed


def hold(adapter: Adapter) -> Entry:
    """Its entry, held by this transaction until it ends; made where there is none."""
    Entry.objects.bulk_create([Entry(adapter=adapter)], ignore_conflicts=True)
    return Entry.objects.select_for_update(no_key=True).get(pk=adapter.pk)


def _write(entry: Entry, fields: dict[str, Any]) -> bool:
    """Nothing is written where nothing changed: the databases' indexes stay as they are."""
    changed = {name: value for name, value in fields.items() if getattr(entry, name) != value}
    if changed:
        Entry.objects.filter(pk=entry.pk).update(**changed)
    return bool(changed)
