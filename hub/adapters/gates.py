"""An expert's gates: recorded as workers make them, chosen among by source, held back, let in or refused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Case, Exists, F, Max, OuterRef, Q, QuerySet, Subquery, Value, When

from hub.accounts.models import User
from hub.adapters.finite import finite
from hub.adapters.models import CommitFile, Gates, Release, ReleaseEvent
from hub.decisions import services as decisions
from hub.decisions.models import Decision
from hub.errors import Conflict, FindingJson, Invalid, NotFound
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import JobKind
from hub.library import rows
from hub.library.models import Library

GATE_FILES = ("fletch_gates.json", "fletch_gates.safetensors")  # as `routing.checks.gates` knows them


@dataclass(frozen=True)
class Candidate:
    """Gates that a worker has put into the index store, and what came of looking at them.

    `curve` holds [step, training loss, held-out loss]; with `findings` they are held back.
    """

    source: str
    vectors_digest: str
    vectors_size: int
    rows: int
    curve: Sequence[tuple[int, float, float]]
    best_step: int
    seconds: float
    peak_bytes: int
    rows_digest: str = ""
    findings: Sequence[FindingJson] = ()


@transaction.atomic
def record(claim: Claim, release_id: int, candidate: Candidate) -> bool:
    """Keep a ready release's new gates; ask for an index version with them unless they are held back.

    False when gates of the same digest are the newest of their source already. Raises Fenced.
    """
    release = (
        Release.objects.select_related("adapter")
        .select_for_update(of=("self",), no_key=True)
        .get(pk=release_id)
    )
    claims.hold(claim)
    newest = release.gates.filter(source=candidate.source).order_by("-number").first()
    if newest is not None and newest.vectors_digest == candidate.vectors_digest:
        return False
    held = bool(candidate.findings)
    facts: Mapping[str, Any] = vars(candidate)
    Gates.objects.create(
        release=release,
        number=(release.gates.aggregate(last=Max("number"))["last"] or 0) + 1,
        standing=Gates.Standing.HELD if held else Gates.Standing.ADMITTED,
        **{**facts, "curve": finite(list(candidate.curve)), "findings": finite(list(candidate.findings))},
    )
    what = ReleaseEvent.What.GATES_HELD if held else ReleaseEvent.What.GATED
    ReleaseEvent.objects.create(release=release, what=what, reason=candidate.source)
    if not held:
        jobs.enqueue(JobKind.INDEX, library_id=release.library.pk)
    return True


def let_in(*, gates: Gates, by: User | None, reason: str = "") -> None:
    """A maintainer finds gates that were held back, or refused, good enough. Raises Conflict."""
    _decide(gates, Gates.Standing.ADMITTED, ReleaseEvent.What.GATES_LET_IN, by=by, reason=reason)


def refuse(*, gates: Gates, by: User | None, reason: str) -> None:
    """A maintainer takes gates out of every version to come. Raises Conflict, Invalid."""
    if not reason.strip():
        raise Invalid("refusing gates needs a reason; the owner and the other maintainers read it")
    _decide(gates, Gates.Standing.REFUSED, ReleaseEvent.What.GATES_REFUSED, by=by, reason=reason)


@transaction.atomic
def _decide(
    gates: Gates, standing: Gates.Standing, what: ReleaseEvent.What, *, by: User | None, reason: str
) -> None:
    before = gates.standing
    changed = Gates.objects.filter(pk=gates.pk).exclude(standing=standing).update(standing=standing)
    if not changed:
        raise Conflict(f"{gates} are {standing} already")
    gates.refresh_from_db()
    said = f"gates {gates.number} ({gates.source}). {reason}".strip()
    ReleaseEvent.objects.create(release=gates.release, what=what, by=by, reason=said)
    decided = Decision.What(what.value)
    decisions.about_release(gates.release, decided, before=before, after=standing, by=by, reason=said)
    jobs.enqueue(JobKind.INDEX, library_id=gates.release.library.pk)


def numbered(release: Release, number: int) -> Gates:
    """Raises NotFound."""
    found = release.gates.select_related("release__adapter").filter(number=number).first()
    if found is None:
        raise NotFound(f"{release} has no gates {number}")
    return found


def preferred(library: Library) -> QuerySet[Gates]:
    """Of the release in the outer query: its admitted gates, those that its library prefers first."""
    order = [When(source=source, then=Value(place)) for place, source in enumerate(library.gate_sources)]
    usable = Gates.objects.filter(
        release=OuterRef("pk"), standing=Gates.Standing.ADMITTED, source__in=library.gate_sources
    )
    return usable.order_by(Case(*order, default=Value(len(order))), F("number").desc()) if order else usable


def in_use(release: Release) -> Gates | None:
    """The gates that the next index version takes for this release."""
    of_library = preferred(release.library).values("pk")[:1]
    chosen = Release.objects.filter(pk=release.pk).annotate(chosen=Subquery(of_library))
    return Gates.objects.filter(pk=chosen.values_list("chosen", flat=True).get()).first()


def lacking_sources(release: Release) -> list[str]:
    """The sources from which this release could have gates that it does not have."""
    wanted = []
    if brings_gates(release) and not release.gates.filter(source=Gates.Source.BROUGHT).exists():
        wanted.append(Gates.Source.BROUGHT.value)
    if not release.library.train_gates:
        return wanted
    if release.samples_id and not release.gates.filter(source=Gates.Source.SAMPLES).exists():
        wanted.append(Gates.Source.SAMPLES.value)
    given = rows.current(release.library)
    if Gates.Source.COLLECTOR not in release.library.gate_sources:
        return wanted
    own = release.gates.filter(source=Gates.Source.COLLECTOR)
    if given is not None and not own.filter(rows_digest=given.sha256).exists():
        wanted.append(Gates.Source.COLLECTOR.value)
    return wanted


def brings_gates(release: Release) -> bool:
    """Whether the gates that were trained at home came with the upload."""
    return CommitFile.objects.filter(commit=release.commit_id, path=GATE_FILES[1]).exists()


def ask_for_one(release: Release) -> bool:
    """Ask for the gates that a ready release lacks; whether there are any."""
    lacks = bool(lacking_sources(release))
    if lacks:
        jobs.enqueue(JobKind.GATES, release_id=release.pk)
    return lacks


def ask_for_all(library: Library) -> int:
    """Ask for the gates that the experts of a library lack; of how many experts."""
    ready = Release.objects.filter(
        adapter__library=library, status=Release.Status.READY, yanked_at=None, quarantined_at=None
    )
    files = CommitFile.objects.filter(commit=OuterRef("commit"), path=GATE_FILES[1])
    able = ready if rows.current(library) else ready.filter(~Q(samples=None) | Exists(files))
    known = able.select_related("adapter__library").defer("statistics", "fingerprint", "findings")
    return sum(ask_for_one(release) for release in known)


@transaction.atomic
def delete_samples(*, release: Release, by: User) -> bool:
    """Forget the sample rows of a release, wherever the same rows came again. False when there are none.

    The bytes go at the next garbage collection. Gates that were trained on them stay: they are some vectors,
    as the adapter is, that was trained on the same rows; whoever wants them gone too yanks the release.
    """
    held = Release.objects.select_for_update(no_key=True).get(pk=release.pk)
    if held.samples_id is None:
        return False
    same = Release.objects.filter(adapter=held.adapter_id, samples=held.samples_id)
    events = [
        ReleaseEvent(release_id=pk, what=ReleaseEvent.What.ROWS_DELETED, by=by)
        for pk in same.values_list("pk", flat=True)
    ]
    ReleaseEvent.objects.bulk_create(events)
    same.update(samples=None)
    release.samples = None
    return True
