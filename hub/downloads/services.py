"""Counting downloads, and adding the counts up.

A download writes one row and no more. Figures are columns of their adapter, which a worker brings up to date
about once a minute, so that lists sort by them as by any other (docs/decisions/0020-downloads-counted.md).
"""

import logging
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any

from django.db import Error, transaction
from django.db.models import Count, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.utils import timezone
from django.utils.crypto import salted_hmac

from hub.adapters.models import Adapter, Release
from hub.downloads.models import DayOfDownloads, Download
from hub.library.permissions import Visitor

MONTH = timedelta(days=30)
YESTERDAY = timedelta(days=1)
AT_ONCE = 200  # adapters, so that nobody waits long for their lock
SLIDING_AT_ONCE = 1_000  # at midnight all of them may have to; the next round takes the next ones
DIGITS = 32
FIGURES = ("downloads", "downloads_all_time")
log = logging.getLogger(__name__)


def record(*, release: Release, visitor: Visitor, address: str) -> None:
    """Count this person, or this address, once today. What goes wrong here is logged and ends nothing."""
    day = _today()
    person = f"user {visitor.pk}" if visitor.is_authenticated else f"address {address}"
    who = salted_hmac("hub.downloads", f"{day} {release.pk} {person}", algorithm="sha256").hexdigest()
    row = Download(release=release, day=day, who=who[:DIGITS])
    try:
        Download.objects.bulk_create([row], ignore_conflicts=True)
    except Error:
        log.exception("a download of release %d was not counted", release.pk)


def add_up() -> int:
    """Write the figures of those adapters anew whose figures are no longer true; how many they were.

    Counts are written as what they are and not as what they grew by, so this may run twice, in two workers,
    or die anywhere. The rows of a day go a day after it, when no web process takes it for today.
    """
    today = _today()
    behind = sorted({*_counted_since(), *_of_another_day(today)})
    for start in range(0, len(behind), AT_ONCE):
        _write(behind[start : start + AT_ONCE], today)
    over = Download.objects.filter(day__lt=today - YESTERDAY)
    if over.exists():
        over.delete()
    return len(behind)


def _counted_since() -> Iterator[int]:
    """Adapters of which there are more downloads than their days say."""
    known = DayOfDownloads.objects.filter(release=OuterRef("release"), day=OuterRef("day"))
    counts = _counts(Download.objects.all()).annotate(known=Subquery(known.values("count")[:1]))
    more = counts.filter(Q(known=None) | ~Q(count=F("known")))
    yield from more.values_list("release__adapter", flat=True).iterator()


def _of_another_day(today: date) -> Iterator[int]:
    """Adapters whose last 30 days were other days than now: as many as one round takes."""
    slid = Adapter.objects.filter(downloads__gt=0).exclude(downloads_as_of=today).order_by("pk")
    yield from slid.values_list("pk", flat=True)[:SLIDING_AT_ONCE]


@transaction.atomic
def _write(adapters: Sequence[int], today: date) -> None:
    """Counts are read under a lock on their adapters: no worker overwrites what another counted later."""
    locked = Adapter.objects.select_for_update(no_key=True).filter(pk__in=adapters).order_by("pk")
    ours = list(locked.values_list("pk", flat=True))
    counts = _counts(Download.objects.filter(release__adapter__in=ours))
    DayOfDownloads.objects.bulk_create(
        [DayOfDownloads(**found) for found in counts],
        update_conflicts=True,
        unique_fields=["release", "day"],
        update_fields=["count"],
    )
    days = DayOfDownloads.objects.filter(release__adapter__in=ours)
    sums = (
        days.order_by()
        .values(pk=F("release__adapter"))
        .annotate(
            downloads=Sum("count", filter=Q(day__gt=today - MONTH), default=0),
            downloads_all_time=Sum("count"),
        )
    )
    Adapter.objects.bulk_update([Adapter(**of_one) for of_one in sums], FIGURES)
    locked.update(downloads_as_of=today)


def _counts(downloads: QuerySet[Download]) -> QuerySet[Download, Any]:
    """How many rows each release has for each day."""
    return downloads.order_by("release", "day").values("release_id", "day").annotate(count=Count("pk"))


def _today() -> date:
    return timezone.now().date()
