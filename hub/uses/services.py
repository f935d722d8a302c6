"""Adding up what serving processes report, once, and keeping it as long as it says something."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta

from django.db import transaction
from django.db.models import Q, Sum
from django.utils import timezone

from hub.errors import Invalid, NotFound
from hub.indexes.models import IndexMember, IndexVersion
from hub.search.models import Entry
from hub.uses.models import DayOfUse, ExpertUse, Reporter, VersionUse
from hub.uses.schemas import ReportIn

MONTH = timedelta(days=30)
KEPT = timedelta(days=90)
A_DAY = timedelta(days=1)  # clocks differ, and reports may wait a while before they can be sent
AT_ONCE = 500


@transaction.atomic
def record(report: ReportIn) -> bool:
    """Add a report up; False if it was before. Experts that are no members of the version are left out.

    Raises NotFound, Invalid.
    """
    if abs(report.day - _today()) > A_DAY:
        raise Invalid(f"day is {report.day}; expected today, {_today()} in UTC, or the day before")
    Reporter.objects.bulk_create([Reporter(instance=report.instance)], ignore_conflicts=True)
    reporter = Reporter.objects.select_for_update(no_key=True).get(pk=report.instance)
    if report.number <= reporter.number:
        return False
    version = _version(report)
    use = _add_tokens(version, report)
    members = _members(version, report.hits)
    hits = {members[name]: counts for name, counts in report.hits.items() if name in members and any(counts)}
    _add_hits(use, hits)
    _add_to_day(version, report, hits)
    reporter.number = report.number
    reporter.save(update_fields=["number", "at"])
    return True


def _version(report: ReportIn) -> IndexVersion:
    found = IndexVersion.objects.filter(
        library__slug=report.library, number=report.version, manifest=report.manifest
    ).first()
    if found is None:
        raise NotFound(f"{report.library} has no index version {report.version} of this manifest")
    return found


def _members(version: IndexVersion, names: Iterable[str]) -> dict[str, int]:
    """The releases that the version has under these adapters' names."""
    wanted = set(names)
    short = {name.rpartition("/")[2] for name in wanted}
    rows: Iterable[tuple[str, str, int]] = (
        IndexMember.objects.filter(pk__in=version.memberships().values("pk"))
        .filter(release__adapter__name__in=short, release__adapter__private=False)
        .values_list("release__adapter__owner__username", "release__adapter__name", "release_id")
    )
    return {f"{owner}/{name}": pk for owner, name, pk in rows if f"{owner}/{name}" in wanted}


def _add_tokens(version: IndexVersion, report: ReportIn) -> VersionUse:
    """The version's row, held until the end, so that of two reports the second sees what the first added."""
    nothing = VersionUse(
        version=version, modules=report.modules, tokens=[0] * len(report.modules), last_day=report.day
    )
    VersionUse.objects.bulk_create([nothing], ignore_conflicts=True)
    use = VersionUse.objects.select_for_update(no_key=True).get(version=version)
    if use.modules != report.modules:
        raise Invalid(f"modules: expected those of the earlier reports of {report.library}@{report.version}")
    use.tokens = _sums(use.tokens, report.tokens)
    use.last_day = max(use.last_day, report.day)
    use.save(update_fields=["tokens", "last_day"])
    return use


def _add_hits(use: VersionUse, hits: Mapping[int, Sequence[int]]) -> None:
    known = {one.release_id: one.hits for one in ExpertUse.objects.filter(use=use, release__in=list(hits))}
    rows = [
        ExpertUse(use=use, release_id=pk, hits=_sums(known[pk], counts) if pk in known else list(counts))
        for pk, counts in hits.items()
    ]
    ExpertUse.objects.bulk_create(
        rows,
        batch_size=AT_ONCE,
        update_conflicts=True,
        unique_fields=["use", "release"],
        update_fields=["hits"],
    )


def _add_to_day(version: IndexVersion, report: ReportIn, hits: Mapping[int, Sequence[int]]) -> None:
    places: dict[int | None, int] = {pk: sum(counts) for pk, counts in hits.items()}
    places[None] = sum(report.tokens)
    known = {row.release_id: row for row in DayOfUse.objects.filter(version=version, day=report.day)}
    changed: list[DayOfUse] = []
    new: list[DayOfUse] = []
    for pk, count in places.items():
        if not count:
            continue
        row = known.get(pk) or DayOfUse(version=version, release_id=pk, day=report.day, places=0, tokens=0.0)
        row.places += count
        row.tokens = row.places / len(report.modules)
        (changed if row.pk else new).append(row)
    DayOfUse.objects.bulk_create(new, batch_size=AT_ONCE)
    DayOfUse.objects.bulk_update(changed, ["places", "tokens"], batch_size=AT_ONCE)


def _sums(one: Sequence[int], other: Sequence[int]) -> list[int]:
    return [a + b for a, b in zip(one, other, strict=True)]


def add_up() -> int:
    """Write anew by how much each adapter was used in the last 30 days, and forget what is too old; how many
    adapters' figures changed. May run at any time.
    """
    today = _today()
    _forget(today)
    month = DayOfUse.objects.filter(day__gt=today - MONTH).exclude(release=None)
    found = month.order_by().values_list("release__adapter").annotate(sum=Sum("tokens"))
    sums = {adapter: max(1, round(tokens)) for adapter, tokens in found}
    used = Entry.objects.filter(Q(used__isnull=False) | Q(pk__in=list(sums)))
    changed = [entry for entry in used.only("pk", "used") if entry.used != sums.get(entry.pk)]
    for entry in changed:
        entry.used = sums.get(entry.pk)
    Entry.objects.bulk_update(changed, ["used"], batch_size=AT_ONCE)
    return len(changed)


def _forget(today: date) -> None:
    DayOfUse.objects.filter(day__lt=today - KEPT).delete()
    VersionUse.objects.filter(last_day__lt=today - KEPT).delete()
    Reporter.objects.filter(at__lt=timezone.now() - KEPT).delete()


def _today() -> date:
    return timezone.now().date()
