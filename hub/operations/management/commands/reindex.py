"""manage.py reindex"""

from typing import Any

from django.core.management.base import CommandParser

from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from hub.operations.command import HubCommand, library_called
from hub.operations.following import follow


class Command(HubCommand):
    help = "Ask for a new index version. None is made where neither the members nor the policy changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument("--wait", action="store_true", help="follow the job until it is done")

    def handle(self, **options: Any) -> None:
        job = jobs.enqueue(JobKind.INDEX, library_id=library_called(options["library"]).pk)
        self.stdout.write(f"{job}")
        if options["wait"]:
            follow(job, say=self.stdout.write)
