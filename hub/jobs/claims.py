"""A worker's hold on a job, and the proof that it still has it."""

from dataclasses import dataclass
from typing import TypedDict

from hub.errors import Fenced
from hub.jobs.models import Job, JobKind


class Subject(TypedDict, total=False):
    """The ids that a job is about; each kind has one of them, and what is about the whole hub has none."""

    library_id: int
    release_id: int
    checkpoint_id: int
    training_id: int
    mirror_id: int
    feed_id: int
    export_id: int
    user_id: int
    ablation_id: int


@dataclass(frozen=True)
class Claim:
    """One attempt at one job. Valid while the job's token is still this one."""

    job_id: int
    kind: JobKind
    ids: Subject
    token: int
    attempt: int = 1


def hold(claim: Claim) -> Job:
    """Lock the claimed job until the current transaction ends. Raises Fenced when it was lost.

    Every service that records a worker's result calls this inside its transaction and before it writes: a
    worker that slept past its lease can then record nothing.

    Jobs are locked last: releases, then the library, then jobs. Who holds a job and then waits for a library
    can meet somebody who holds that library and asks for the same job.
    """
    held = (
        Job.objects.select_for_update(no_key=True)
        .filter(pk=claim.job_id, token=claim.token, state=Job.State.RUNNING)
        .first()
    )
    if held is None:
        raise Fenced(f"job {claim.job_id} is no longer ours (token {claim.token}); nothing was recorded")
    return held
