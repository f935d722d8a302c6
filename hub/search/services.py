"""Keeping entries true. Whoever writes one has read what it says while holding its row, so that of two
changes the later one sees both.
"""

from collections.abc import Sequence
from typing import Any

from django.db import transaction
from django.db.models import F, Q, QuerySet

from hub.adapters import history
from hub.adapters.models import Adapter
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind
from hub.search import describing, meanings
from hub.search.models import Entry

AT_ONCE = 50  # others write meanwhile
MEANT = {"words", "about"}  # where these changed, the card is read in another way


def describe_again(adapter: Adapter) -> None:
    """Its name, its library or its main changed."""
    entry = hold(adapter)
    _write(entry, {**describing.said(adapter, history.head(adapter)), "form": describing.FORM})


def judge_again(adapter: Adapter) -> None:
    """Something became of a release."""
    entry = hold(adapter)
    _write(entry, describing.stands(adapter))


def count_likes(adapter: Adapter, *, by: int) -> None:
    Entry.objects.filter(pk=adapter.pk).update(likes=F("likes") + by)


def reindex() -> int:
    """Write every entry that says something else than it should; how many they were. May run at any time."""
    return sum(write_again(pks) for pks in batches(Adapter.objects.all()))


def outdated() -> QuerySet[Adapter]:
    """Adapters whose entry older rules wrote, or nobody."""
    return Adapter.objects.filter(Q(entry__form=None) | Q(entry__form__lt=describing.FORM))


def ask_for_outdated() -> bool:
    """Ask a worker to write them again: after an upgrade. Not after a job that failed: that is the operator's
    to look at.
    """
    if not outdated().exists():
        return False
    last = Job.objects.filter(key=jobs.key_of(JobKind.DESCRIBE, {})).order_by("-pk").first()
    if last is not None and last.state != Job.State.DONE:
        return False
    jobs.enqueue(JobKind.DESCRIBE)
    return True


def batches(adapters: QuerySet[Adapter]) -> list[list[int]]:
    """Their primary keys, as many together as are written in one transaction."""
    pks = list(adapters.order_by("pk").values_list("pk", flat=True))
    return [pks[start : start + AT_ONCE] for start in range(0, len(pks), AT_ONCE)]


def untrue(adapter: Adapter) -> list[str]:
    """The fields in which an adapter's entry says something else than it should; all where there is none."""
    wanted = describing.whole(adapter)
    entry = Entry.objects.filter(pk=adapter.pk).first()
    return [name for name, value in wanted.items() if entry is None or getattr(entry, name) != value]


@transaction.atomic
def write_again(pks: Sequence[int]) -> int:
    """Write the entries of these adapters that say something else than they should; how many they were."""
    untrue, read = 0, list[Adapter]()
    for adapter in Adapter.objects.filter(pk__in=pks).select_related("owner").order_by("pk"):
        changed = _write(hold(adapter), {**describing.whole(adapter), "form": describing.FORM})
        untrue += bool(changed - {"form"})
        if not changed.isdisjoint(MEANT):
            read.append(adapter)
    meanings.ask_again(*read)
    return untrue


def hold(adapter: Adapter) -> Entry:
    """Its entry, held by this transaction until it ends; made where there is none."""
    Entry.objects.bulk_create([Entry(adapter=adapter)], ignore_conflicts=True)
    return Entry.objects.select_for_update(no_key=True).get(pk=adapter.pk)


def _write(entry: Entry, fields: dict[str, Any]) -> set[str]:
    """The fields that changed. Nothing is written where none did: the databases' indexes stay as they are."""
    changed = {name: value for name, value in fields.items() if getattr(entry, name) != value}
    if changed:
        Entry.objects.filter(pk=entry.pk).update(**changed)
    return set(changed)
