"""manage.py fsck"""

import sys
from typing import Any

from django.core.management.base import CommandParser

from hub.operations import checker
from hub.operations.command import HubCommand


class Command(HubCommand):
    help = (
        "Check that the hub is as it promises, and say in sentences where it is not. "
        "Exit status 1 if it is not."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--deep", action="store_true", help="also read every byte and compare digests")

    def handle(self, **options: Any) -> None:
        found = 0
        for check in (*checker.QUICK, *(checker.DEEP if options["deep"] else ())):
            sentences = list(check())
            found += len(sentences)
            self.stdout.write(f"{'ok ' if not sentences else 'BAD'} {check.__name__.replace('_', ' ')}")
            for sentence in sentences:
                self.stdout.write(f"      {sentence}")
        if found:
            sys.exit(1)
