"""What the maintainer's desk shows: what waits, what was held back, who keeps how much, what workers do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, OuterRef, Q, QuerySet, Subquery

from hub.accounts.models import User
from hub.adapters import quota
from hub.adapters.models import Gates, Release, ReleaseEvent
from hub.jobs.models import Job
from hub.library.models import Library
from hub.library.permissions import Visitor, maintained
from hub.limits import GIB

SHOWN = 30  # of each part of the queue
RECENT = 10
JOBS = 50
LONGEST_LOG = 8000  # characters of each on the page
USED_FOR = 300  # seconds that the sum over all files is believed
HEAVY = ("findings", "statistics", "measurements", "fingerprint")


@dataclass(frozen=True)
class Queue:
    """What waits for a decision, the oldest first, and what was decided without one, the newest first."""

    held: list[Release]
    gates: list[Gates]
    quarantined: list[Release]
    rejected: list[Release]


def queue_of(visitor: Visitor) -> Queue:
    """A quarantine that nobody ordered is the hub's own: a doubt, or a library that looks at each release."""
    mine = maintained(visitor)
    # Few of a library's releases are held back: the inner question finds them by their own index.
    held_back = Release.objects.filter(quarantined_at__isnull=False).order_by().values("pk")
    standing = _releases(mine).filter(pk__in=held_back)
    return Queue(
        held=list(standing.filter(Q(ordered_by=None)).order_by("quarantined_at")[:SHOWN]),
        gates=list(_held_gates(mine)[:SHOWN]),
        quarantined=list(standing.filter(~Q(ordered_by=None)).order_by("-quarantined_at")[:RECENT]),
        rejected=list(
            _releases(mine).filter(status=Release.Status.REJECTED).order_by("-settled_at")[:RECENT]
        ),
    )


def release_called(number: int, visitor: Visitor) -> Release | None:
    """A release that this visitor decides about."""
    return _releases(maintained(visitor)).filter(pk=number).first()


def gates_called(number: int, visitor: Visitor) -> Gates | None:
    return _held_gates(maintained(visitor)).filter(pk=number).first()


def _releases(libraries: QuerySet[Library]) -> QuerySet[Release]:
    ordered = ReleaseEvent.objects.filter(release=OuterRef("pk"), what=ReleaseEvent.What.QUARANTINED)
    return (
        Release.objects.filter(adapter__library__in=libraries, adapter__deleted_at=None)
        .select_related("commit", "adapter__owner", "adapter__library")
        .annotate(ordered_by=Subquery(ordered.order_by("-pk").values("by__username")[:1]))
        .defer(*HEAVY)
    )


def _held_gates(libraries: QuerySet[Library]) -> QuerySet[Gates]:
    held = Gates.objects.filter(standing=Gates.Standing.HELD).order_by().values("pk")
    return (
        Gates.objects.filter(release__adapter__library__in=libraries, pk__in=held)
        .select_related("release__commit", "release__adapter__owner", "release__adapter__library")
        .defer("curve", *(f"release__{name}" for name in HEAVY))
        .order_by("pk")
    )


@dataclass(frozen=True)
class Keeper:
    """A person, and how much they keep here."""

    user: User
    used: int
    quota: int

    @property
    def quota_said(self) -> str:
        """In GiB, as the form takes it; nothing where everybody's holds."""
        return "" if self.user.quota_bytes is None else f"{self.user.quota_bytes / GIB:g}"

    @property
    def usual(self) -> str:
        return f"{settings.LIMITS.user_quota_bytes / GIB:g}"

    @property
    def percent(self) -> int:
        return min(100, round(100 * self.used / self.quota)) if self.quota else 100


def keepers(words: str) -> Sequence[int]:
    """The numbers of the people whose names hold these words, who keep most first."""
    used = used_by_owner()
    found = User.objects.filter(username__contains=words.strip().lower()).order_by("username")
    return sorted(found.values_list("pk", flat=True), key=lambda number: -used.get(number, 0))


def shown(numbers: Sequence[int]) -> list[Keeper]:
    """These people, in this order."""
    people = User.objects.annotate(adapter_count=Count("adapters", filter=Q(adapters__deleted_at=None)))
    known, used = people.in_bulk(list(numbers)), used_by_owner()
    return [
        Keeper(known[number], used.get(number, 0), quota.quota_of(known[number]))
        for number in numbers
        if number in known
    ]


def used_by_owner() -> dict[int, int]:
    """The sum reads every file of the hub, so it is made every few minutes at most."""
    return cache.get_or_set("kept-by-owner", quota.used_by_owner, timeout=USED_FOR) or {}


@dataclass(frozen=True)
class JobLine:
    """A job, and what it is about where there is a page of it."""

    job: Job
    about: str
    path: str

    @property
    def took(self) -> float | None:
        """Seconds of its last attempt, if that has ended."""
        begun, ended = self.job.started_at, self.job.finished_at
        return (ended - begun).total_seconds() if begun and ended else None

    @property
    def log(self) -> str:
        """Its end."""
        return self.job.log[-LONGEST_LOG:]


def job_lines(*, state: str, before: int | None) -> list[JobLine]:
    """The newest of this state, or of any; one more than a page holds says that there are older ones."""
    found = Job.objects.order_by("-pk")
    if state:
        found = found.filter(state=state)
    if before is not None:
        found = found.filter(pk__lt=before)
    page = list(found[: JOBS + 1])
    names = _subjects(page)
    return [JobLine(job, *names.get(job.pk, (_plain(job), ""))) for job in page]


def unfinished() -> dict[str, int]:
    """How many jobs there are of each state but done, which nobody asks for."""
    counted = Job.objects.exclude(state=Job.State.DONE).order_by().values("state").annotate(count=Count("pk"))
    return {row["state"]: row["count"] for row in counted}


def _subjects(page: Sequence[Job]) -> dict[int, tuple[str, str]]:
    """Releases and libraries by name, in two questions for a whole page."""
    releases = Release.objects.select_related("commit", "adapter__owner").defer(*HEAVY)
    by_release = releases.in_bulk([job.subject["release_id"] for job in page if "release_id" in job.subject])
    by_library = Library.objects.in_bulk(
        [job.subject["library_id"] for job in page if "library_id" in job.subject]
    )
    found: dict[int, tuple[str, str]] = {}
    for job in page:
        release = by_release.get(job.subject.get("release_id", 0))
        library = by_library.get(job.subject.get("library_id", 0))
        if release is not None:
            found[job.pk] = str(release), f"/{release.adapter.full_name}/releases/{release.oid}"
        elif library is not None:
            found[job.pk] = library.slug, f"/libraries/{library.slug}"
    return found


def _plain(job: Job) -> str:
    subject: dict[str, Any] = job.subject
    return ", ".join(f"{name.removesuffix('_id')} {number}" for name, number in subject.items())
