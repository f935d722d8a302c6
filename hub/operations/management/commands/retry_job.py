"""manage.py retry_job"""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from hub.jobs import services
from hub.jobs.models import Job
from hub.operations.command import HubCommand


class Command(HubCommand):
    help = "Try failed jobs again from the start."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "job", nargs="*", type=int, help="numbers, as `list_jobs --state failed` shows them"
        )
        parser.add_argument("--all", action="store_true", help="every failed job")

    def handle(self, **options: Any) -> None:
        failed = Job.objects.filter(state=Job.State.FAILED).order_by("pk")
        chosen = failed if options["all"] else Job.objects.filter(pk__in=options["job"])
        missing = set(options["job"]) - set(chosen.values_list("pk", flat=True))
        if missing or not (options["all"] or options["job"]):
            raise CommandError(
                f"there is no job {sorted(missing)}" if missing else "name a job, or say --all"
            )
        for job in list(chosen):
            self.stdout.write(f"{services.retry(job)}")
