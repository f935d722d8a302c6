"""manage.py promote"""

from typing import Any

from django.core.management.base import CommandParser

from hub.indexes import services
from hub.operations.command import HubCommand, library_called


class Command(HubCommand):
    help = "Serve a published index version of a library; an older number is a rollback. Goes on record."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument("number", type=int)
        parser.add_argument("--reason", default="by the operator")

    def handle(self, **options: Any) -> None:
        library = library_called(options["library"])
        promotion = services.promote(
            library=library, number=options["number"], by=None, reason=options["reason"]
        )
        self.stdout.write(f"{promotion.version} is the version to serve; the serving processes follow")
