"""Asking what each expert contributes, and recording what a worker measures of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.dispatch import receiver

from hub.ablations import queries
from hub.ablations.models import NAME, Ablation, Contribution
from hub.accounts.models import User
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.errors import Conflict, Invalid, TooLarge
from hub.indexes import queries as indexes
from hub.indexes.models import IndexVersion
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.jobs.signals import job_failed, job_retried
from hub.library import rows as collector
from hub.library.models import Library

MOST_NAMED = 5


@dataclass(frozen=True)
class Rows:
    """A file of rows that is kept: what it is called, and how many lines it has."""

    name: str
    blob: Blob
    lines: int


@dataclass(frozen=True)
class Interval:
    """A figure with its interval of 95 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """How well rows are predicted: in nats per token, and the share of exact answers."""

    per_token: float
    exact: float


@dataclass(frozen=True)
class Cost:
    """What a step of a measurement took."""

    tokens: int
    seconds: float


def request(
    *, version: IndexVersion, file: Path, name: str, by: User, experts: Sequence[str] = ()
) -> Ablation:
    """Measure on a JSONL file, which may be moved away, what experts of a version contribute: these by name,
    or all. What was measured on the same rows serves again; what was not is gone on with.

    Workers parse the rows as strangers' data; here only their size and their lines are counted.
    Raises Invalid, Conflict, TooLarge, StorageFull.
    """
    size, most = file.stat().st_size, settings.LIMITS.samples_bytes
    if size > most:
        raise TooLarge(f"rows: found {size:,} bytes, expected at most {most:,}")
    with file.open("rb") as content:
        lines = sum(1 for line in content if line.strip())
    if not lines:
        raise Invalid("rows: found an empty file, expected one JSON object a line")
    _check_version(version)
    chosen = _chosen(version, experts)
    return _asked(version, Rows(name[:NAME] or "rows", blobs.store_file(file), lines), chosen, by)


def repeat(*, ablation: Ablation, version: IndexVersion, by: User) -> Ablation:
    """Measure a version of the same library on the same rows. Raises Conflict where they were deleted."""
    if ablation.rows_blob is None:
        raise Conflict(f"the rows of {ablation} were deleted; send them again")
    _check_version(version)
    there = set(version.members().values_list("adapter", flat=True))
    chosen = [adapter for adapter in ablation.chosen if adapter in there]
    if ablation.chosen and not chosen:
        raise Conflict(f"none of the experts that were chosen is a member of {version}")
    return _asked(version, Rows(ablation.name, ablation.rows_blob, ablation.lines), chosen, by)


def _check_version(version: IndexVersion) -> None:
    if indexes.held_back(version).exists():
        raise Conflict(f"{version} names an expert that is in quarantine, so nothing is measured of it")
    if not version.expert_count:
        raise Conflict(f"{version} has no experts, so there is none to leave out")


def _chosen(version: IndexVersion, experts: Sequence[str]) -> list[int]:
    """Adapters by id, sorted; none: all."""
    if not experts:
        return []
    known = {release.adapter.full_name: release.adapter_id for release in indexes.experts(version)}
    strangers = sorted(set(experts) - known.keys())
    if strangers:
        raise Invalid(
            f"experts: found {', '.join(strangers[:MOST_NAMED])}, expected names of experts of {version}"
        )
    return sorted({known[name] for name in experts})


@transaction.atomic
def _asked(version: IndexVersion, rows: Rows, chosen: list[int], by: User) -> Ablation:
    library = Library.objects.select_for_update(no_key=True).get(pk=version.library_id)
    taught = collector.current(library)
    if taught is not None and taught.sha256 == rows.blob.sha256:
        raise Conflict(
            f"rows: found those on which gates of {library.slug} are trained, expected rows that nothing "
            f"learnt from"
        )
    found, new = Ablation.objects.get_or_create(
        version=version,
        rows_sha256=rows.blob.sha256,
        defaults={
            "name": rows.name,
            "rows_blob": rows.blob,
            "lines": rows.lines,
            "chosen": chosen,
            "by": by,
        },
    )
    if not new and not _more_to_do(found, chosen):
        return found
    if not new:
        _begin_again(found, rows, chosen)
    jobs.enqueue(JobKind.ABLATE, ablation_id=found.pk)
    return found


def _more_to_do(ablation: Ablation, chosen: list[int]) -> bool:
    """Whether asking again asks for something: it ended early, or knows nothing of some of these."""
    if ablation.state != Ablation.State.DONE:
        return True
    if not ablation.chosen:
        return False
    return not chosen or not set(chosen) <= set(ablation.chosen)


def _begin_again(ablation: Ablation, rows: Rows, chosen: list[int]) -> None:
    all_of_them = not ablation.chosen or not chosen
    Ablation.objects.filter(pk=ablation.pk).update(
        state=Ablation.State.REQUESTED,
        settled_at=None,
        note="",
        rows_blob=rows.blob,
        chosen=[] if all_of_them else sorted({*ablation.chosen, *chosen}),
        tokens=0,
        seconds=0.0,
    )
    ablation.refresh_from_db()


@transaction.atomic
def cancel(*, ablation: Ablation, by: User) -> None:
    """Stop measuring; what is measured stays, and asking again goes on from there. Raises Conflict."""
    if not _settled(ablation.pk, Ablation.State.CANCELLED, f"cancelled by {by.username}"):
        raise Conflict(f"{ablation} is not under way, so there is nothing to cancel")


@transaction.atomic
def forget_rows(*, ablation: Ablation) -> None:
    """Forget a file of rows everywhere in its library; the bytes go at the next garbage collection and the
    figures stay. Raises Conflict while something is measured on it.
    """
    library = Library.objects.select_for_update(no_key=True).get(pk=ablation.version.library_id)
    same = Ablation.objects.filter(version__library=library, rows_sha256=ablation.rows_sha256)
    if same.filter(state=Ablation.State.REQUESTED).exists():
        raise Conflict("something is measured on these rows at the moment; cancel it first")
    same.update(rows_blob=None)


@transaction.atomic
def record_whole(claim: Claim, ablation_id: int, *, rows: int, whole: Score, base: Score, cost: Cost) -> bool:
    """What the library and the plain base score. False when it was cancelled. Raises Fenced."""
    claims.hold(claim)
    return bool(
        _under_way(ablation_id).update(
            rows=rows,
            score=whole.per_token,
            exact=whole.exact,
            base_score=base.per_token,
            base_exact=base.exact,
            tokens=F("tokens") + cost.tokens,
            seconds=F("seconds") + cost.seconds,
        )
    )


@transaction.atomic
def record_contribution(
    claim: Claim,
    ablation_id: int,
    release_id: int,
    *,
    gain: Interval,
    exact: Interval,
    heard: int,
    cost: Cost,
) -> bool:
    """What one expert contributes. False when it was cancelled. Raises Fenced."""
    claims.hold(claim)
    under_way = _under_way(ablation_id).update(
        tokens=F("tokens") + cost.tokens, seconds=F("seconds") + cost.seconds
    )
    if not under_way:
        return False
    Contribution.objects.update_or_create(
        ablation_id=ablation_id,
        release_id=release_id,
        defaults={
            "gain": gain.value,
            "low": gain.low,
            "high": gain.high,
            "exact_gain": exact.value,
            "exact_low": exact.low,
            "exact_high": exact.high,
            "heard": heard,
            "at": Now(),
        },
    )
    return True


@transaction.atomic
def settle(claim: Claim, ablation_id: int, state: Ablation.State, note: str = "") -> bool:
    """It ended so. False when it was cancelled, or when more was asked for meanwhile: then it is not done,
    and the job that was asked for with it goes on. Raises Fenced.
    """
    claims.hold(claim)
    if state == Ablation.State.DONE and queries.unmeasured(queries.ablation(ablation_id)):
        return False
    return _settled(ablation_id, state, note)


def _settled(ablation_id: int, state: Ablation.State, note: str) -> bool:
    return bool(_under_way(ablation_id).update(state=state, note=note, settled_at=Now()))


def _under_way(ablation_id: int) -> queries.Ablations:
    return Ablation.objects.filter(pk=ablation_id, state=Ablation.State.REQUESTED)


@receiver(job_failed)
def _measuring_failed(job: Job, **_: object) -> None:
    if job.kind == JobKind.ABLATE:
        _settled(job.subject["ablation_id"], Ablation.State.FAILED, "the hub could not finish this")


@receiver(job_retried)
def _measuring_retried(job: Job, **_: object) -> None:
    if job.kind == JobKind.ABLATE:
        Ablation.objects.filter(
            pk=job.subject["ablation_id"], state=Ablation.State.FAILED, rows_blob__isnull=False
        ).update(state=Ablation.State.REQUESTED, note="", settled_at=None)
