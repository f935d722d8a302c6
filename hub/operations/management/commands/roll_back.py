"""manage.py roll_back"""

from typing import Any

from django.core.management.base import CommandParser

from hub.indexes import services
from hub.operations.command import HubCommand, library_called


class Command(HubCommand):
    help = (
        "Serve the newest version below the served one that names no quarantined expert. "
        "New versions then wait until somebody promotes one."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument("--reason", default="rolled back by the operator")

    def handle(self, **options: Any) -> None:
        promotion = services.roll_back(
            library=library_called(options["library"]), by=None, reason=options["reason"]
        )
        self.stdout.write(f"{promotion.version} is the version to serve; the serving processes follow")
