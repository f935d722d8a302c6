"""Watching one job from the terminal until it ends."""

import time
from collections.abc import Callable

from django.core.management.base import CommandError

from hub.jobs.models import Job

LOOK_EVERY = 0.3
Say = Callable[[str], object]


def follow(job: Job, *, say: Say) -> None:
    """Print the job's progress as it changes. Returns when it is done; raises CommandError when it failed."""
    shown = ""
    while True:
        job.refresh_from_db()
        line = _line(job)
        if line != shown:
            say(line)
            shown = line
        if job.state == Job.State.DONE:
            return
        if job.state == Job.State.FAILED:
            raise CommandError(
                f"job {job.pk} failed: {job.error}\n`manage.py retry_job {job.pk}` tries it again"
            )
        time.sleep(LOOK_EVERY)


def _line(job: Job) -> str:
    progress = f" {job.progress_done}/{job.progress_total} {job.progress_note}" if job.progress_total else ""
    hint = ": waiting for a worker" if job.state == Job.State.QUEUED else ""
    return f"job {job.pk} {job.kind.removeprefix('workers.')} {job.state}{progress}{hint}"
