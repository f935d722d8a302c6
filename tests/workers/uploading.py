"""Libraries on a real tiny base and real uploads, as the hub's own door would take them."""

import itertools
import shutil
from pathlib import Path

from django.conf import settings

from hub.accounts.models import User
from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.adapters.staging import StagedFile
from hub.jobs import services as jobs
from hub.jobs.models import Job, Queue
from hub.library import services as libraries
from hub.library.models import Library
from tests.tiny import tiny_llama
from tests.workers.live import wait_for
from workers.claiming import attempt
from workers.tasks import DUTIES

_counter = itertools.count()


def user(name: str = "ada") -> User:
    found = User.objects.filter(username=name).first()
    return found or User.objects.create_user(
        username=name, email=f"{name}@example.org", password="correct horse"
    )


def found_library(slug: str = "tiny", base: Path | None = None) -> Library:
    return libraries.create_library(slug=slug, base_source=str(base or tiny_llama()))


def ready_library(slug: str = "tiny", base: Path | None = None) -> Library:
    """Inspected in this process."""
    library = found_library(slug, base)
    work_off_jobs()
    library.refresh_from_db()
    return library


def upload(
    library: Library,
    folder: Path,
    *,
    name: str,
    owner: str = "ada",
    samples: bytes | None = None,
    private: bool = False,
) -> Release:
    """Every file of a folder; the folder stays as it is."""
    place = Path(settings.TEMPORARY)
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        staged = place / f"staged-{next(_counter)}"
        shutil.copy(path, staged)
        files.append(StagedFile(str(path.relative_to(folder)), staged))
    rows = place / f"staged-{next(_counter)}"
    if samples is not None:
        rows.write_bytes(samples)
    return adapters.receive_upload(
        owner=user(owner),
        library=library,
        name=name,
        files=files,
        samples=rows if samples is not None else None,
        private=private,
    )


def work_off_jobs() -> None:
    """Do every due job in this process, in order, as a worker would."""
    while (job := jobs.due(Queue.values).first()) is not None:
        work_off(job)


def work_off(job: Job) -> None:
    attempt(job.pk, task_id=f"here-{next(_counter)}", duties=DUTIES)


def work_off_everything() -> None:
    """Also what waits for the dead worker's lease to expire."""

    def all_done() -> bool:
        work_off_jobs()
        return not Job.objects.filter(state__in=["queued", "running"]).exists()

    wait_for(all_done, seconds=30)
