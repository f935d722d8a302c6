"""manage.py list_jobs"""

from typing import Any

from django.core.management.base import CommandParser

from hub.jobs.models import Job, JobKind
from hub.operations.command import HubCommand

WIDTHS = "{:>6} {:<13} {:<24} {:<8} {:>8} {:<30} {}"


class Command(HubCommand):
    help = "List jobs, the newest last. Failed ones say why; `retry_job` tries them again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--state", action="append", choices=Job.State.values, help="may be repeated (default: all)"
        )
        parser.add_argument("--kind", choices=[kind.value.removeprefix("workers.") for kind in JobKind])
        parser.add_argument("--limit", type=int, default=50)

    def handle(self, **options: Any) -> None:
        jobs = Job.objects.all()
        if options["state"]:
            jobs = jobs.filter(state__in=options["state"])
        if options["kind"]:
            jobs = jobs.filter(kind=f"workers.{options['kind']}")
        self.stdout.write(WIDTHS.format("job", "kind", "about", "state", "attempts", "progress", "error"))
        for job in reversed(jobs.order_by("-pk")[: options["limit"]]):
            self.stdout.write(_row(job))


def _row(job: Job) -> str:
    about = job.key.partition(":")[2]
    progress = f"{job.progress_done}/{job.progress_total} {job.progress_note}" if job.progress_total else ""
    error = job.error.splitlines()[-1] if job.error else ""
    kind = job.kind.removeprefix("workers.")
    return WIDTHS.format(job.pk, kind, about, job.state, job.attempt, progress[:30], error[:100]).rstrip()
