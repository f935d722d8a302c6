"""A worker's hold on a job, and the proof that it still has it."""

from dataclasses import dataclass
from typing import TypedDict

from hub.errors import Fenced
from hub.jobs.models import Job, JobKind


class Subject(TypedDict, total=False):
    """The ids that a job is about; each kind has one of them."""

    library_id: int
    release_id: int
    checkpoint_id: int
    training_id: int


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

    Every service that records a worker's result calls this first, inside its transaction: a worker that slept
    past its
    lease can then record nothing.
    """
    held = (
        Job.objects.select_for_update()
        .filter(pk=claim.job_id, token=claim.token, state=Job.State.RUNNING)
        .first()
    )
    if held is None:
        raise Fenced(f"job {claim.job_id} is no longer ours (token {claim.token}); nothing was recorded")
    return held
