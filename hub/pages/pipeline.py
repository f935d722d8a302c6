"""A release's way through the pipeline, step by step, with times."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db.models import Max

from hub.adapters.models import Release, ReleaseEvent
from hub.indexes.models import IndexMember, IndexVersion
from hub.jobs import services as jobs
from hub.jobs.models import Job, JobKind

State = Literal["done", "running", "waiting", "stopped"]
OUR_FAULT = "The hub could not finish this step. Your upload is kept; the operator can try the step again."
UNDER_WAY = {
    "Validated": "Validating",
    "Routing vectors computed": "Computing routing vectors",
    "In the routing index": "Making an index version with it",
}
RANK = {status: number for number, status in enumerate(("received", "rejected", "validated", "ready"))}


@dataclass(frozen=True)
class Step:
    name: str
    state: State
    at: datetime | None = None
    seconds: float | None = None
    note: str = ""
    progress: int = 0
    total: int = 0
    log: str = ""


@dataclass(frozen=True)
class Course:
    """All steps of one release, and whether anything more will happen without somebody asking for it."""

    steps: tuple[Step, ...]
    settled: bool


@dataclass(frozen=True)
class Stay:
    """The versions that a release is in without a break, whatever its gates; `until` is not among them."""

    since: int
    until: int | None


@dataclass(frozen=True)
class _Facts:
    release: Release
    jobs: Mapping[JobKind, Job]
    events: Mapping[str, datetime]
    stay: Stay | None
    version: IndexVersion | None


def course_of(release: Release) -> Course:
    """Where a release stands, from three reads: its jobs, its events, its membership."""
    facts = _gather(release)
    steps = (_received(facts), _validated(facts), _vectors(facts), _indexed(facts), _served(facts))
    return Course(steps, settled=_is_settled(facts, steps))


def _gather(release: Release) -> _Facts:
    keys = {
        JobKind.VALIDATE: jobs.key_of(JobKind.VALIDATE, {"release_id": release.pk}),
        JobKind.VECTORS: jobs.key_of(JobKind.VECTORS, {"release_id": release.pk}),
        JobKind.INDEX: jobs.key_of(JobKind.INDEX, {"library_id": release.library.pk}),
    }
    # of a library's index jobs there are as many as versions, and the last one is all that matters
    last = Job.objects.filter(key__in=keys.values()).order_by().values("key").annotate(last=Max("pk"))
    newest = {JobKind(job.kind): job for job in Job.objects.filter(pk__in=last.values("last"))}
    events = {event.what: event.at for event in ReleaseEvent.objects.filter(release=release)}
    stay = _last_stay(list(IndexMember.objects.filter(release=release).order_by("-since")))
    return _Facts(release, newest, events, stay, _first_version(release, stay))


def _last_stay(newest_first: Sequence[IndexMember]) -> Stay | None:
    if not newest_first:
        return None
    newest, since = newest_first[0], newest_first[0].since
    for member in newest_first[1:]:
        if member.until != since:
            break
        since = member.since
    return Stay(since, newest.until)


def _first_version(release: Release, stay: Stay | None) -> IndexVersion | None:
    if stay is None:
        return None
    return IndexVersion.objects.filter(library_id=release.library.pk, number=stay.since).first()


def _received(facts: _Facts) -> Step:
    return Step(
        "Received",
        "done",
        at=facts.release.created_at,
        note="Your files are stored and can no longer be lost.",
    )


def _validated(facts: _Facts) -> Step:
    status, at = facts.release.status, facts.events.get("validated") or facts.events.get("rejected")
    job = facts.jobs.get(JobKind.VALIDATE)
    if status == Release.Status.REJECTED:
        return _ended(
            "Validated", job, at=at, state="stopped", note="The checks found errors: see the report."
        )
    if RANK[status] >= RANK["validated"]:
        return _ended("Validated", job, at=at, state="done")
    return _pending("Validated", job, "Format, fit to the base, numbers, copies, behaviour")


def _vectors(facts: _Facts) -> Step:
    job = facts.jobs.get(JobKind.VECTORS)
    if facts.release.status == Release.Status.READY:
        return _ended("Routing vectors computed", job, at=facts.events.get("ready"), state="done")
    if facts.release.status != Release.Status.VALIDATED:
        return Step("Routing vectors computed", "waiting")
    return _pending("Routing vectors computed", job, "Exact factors and the prototype of each target module")


def _indexed(facts: _Facts) -> Step:
    if facts.release.status != Release.Status.READY:
        return Step("In the routing index", "waiting")
    if facts.version and facts.version.published_at:
        name = f"In the routing index since version {facts.version.number}"
        return Step(name, "done", at=facts.version.published_at)
    if facts.release.adapter.private:
        return Step(
            "In the routing index",
            "waiting",
            note="A private adapter is in no index version. Its owner and whom they invite ask with it.",
        )
    return _pending("In the routing index", _unfinished(facts.jobs.get(JobKind.INDEX)), "")


def _served(facts: _Facts) -> Step:
    """Publishing promotes at once where the library says so; what is not promoted waits for a person."""
    current, stay = facts.release.library.current, facts.stay
    if facts.version is None or facts.version.published_at is None or stay is None:
        return Step("Served", "waiting")
    if current is None or current.number < stay.since:
        serves = f"version {current.number} is served" if current else "nothing is served yet"
        return Step("Served", "waiting", note=f"Published, but {serves}: a maintainer decides.")
    if stay.until is not None and current.number >= stay.until:
        return Step(
            "No longer served", "done", note=f"Versions from {stay.until} on are without this release."
        )
    return Step("Served", "done", note=f"The served version is {current.number}.")


def _unfinished(job: Job | None) -> Job | None:
    """The library's index job is shared: one that is done was for others."""
    return job if job and job.state != Job.State.DONE else None


def _ended(name: str, job: Job | None, *, at: datetime | None, state: State, note: str = "") -> Step:
    seconds = (
        (job.finished_at - job.started_at).total_seconds()
        if job and job.finished_at and job.started_at
        else None
    )
    return Step(name, state, at=at, seconds=seconds, note=note, log=job.log if job else "")


def _pending(name: str, job: Job | None, what: str) -> Step:
    if job is None or job.state in {Job.State.QUEUED, Job.State.DONE}:
        again = f"Attempt {job.attempt} did not finish; it is tried again." if job and job.attempt else ""
        return Step(name, "waiting", note=again or "Waiting for a worker.")
    if job.state == Job.State.FAILED:
        return Step(name, "stopped", at=job.finished_at, note=OUR_FAULT, log=job.log)
    return Step(
        UNDER_WAY[name],
        "running",
        at=job.started_at,
        note=job.progress_note or what,
        progress=job.progress_done,
        total=job.progress_total,
        log=job.log,
    )


def _is_settled(facts: _Facts, steps: Sequence[Step]) -> bool:
    release = facts.release
    if any(step.state == "stopped" for step in steps) or steps[3].state == "done":
        return True
    withdrawn = release.yanked_at is not None or release.quarantined_at is not None or release.adapter.private
    return release.status == Release.Status.READY and withdrawn
