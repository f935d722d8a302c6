"""Ties each kind of job to a Celery task under the name by which the hub asks for it."""

from collections.abc import Mapping

from celery import Celery, Task

from hub.jobs.models import JobKind
from workers.claiming import Duty, attempt

KILL_AFTER = 30  # seconds between the polite limit and the one that ends the process


def register(app: Celery, duties: Mapping[JobKind, Duty], *, kill_after: int = KILL_AFTER) -> None:
    """One task for each kind. A message only says which job; what it is about is read from its row."""

    def run(task: Task[[int], None], job_id: int) -> None:
        attempt(job_id, task_id=str(task.request.id), duties=duties)

    for kind, duty in duties.items():
        hard = duty.seconds + kill_after
        app.task(bind=True, name=kind.value, soft_time_limit=duty.seconds, time_limit=hard)(run)
