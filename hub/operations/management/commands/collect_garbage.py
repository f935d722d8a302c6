"""manage.py collect_garbage"""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser

from hub.operations import garbage
from hub.operations.command import HubCommand

HOUR = 3600


class Command(HubCommand):
    help = (
        "Show what nothing names any more: blobs, objects of the index store, expired composed checkpoints. "
        "Removes nothing unless --delete is given, and never what is younger than the grace."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--delete", action="store_true", help="remove it (without: only show)")
        default = settings.GARBAGE_GRACE.total_seconds() / HOUR
        parser.add_argument(
            "--grace-hours",
            type=float,
            default=default,
            help=f"leave alone what is younger (default: {default:g})",
        )

    def handle(self, **options: Any) -> None:
        grace = timedelta(hours=options["grace_hours"])
        count = size = 0
        for item in garbage.collect(grace) if options["delete"] else garbage.find(grace):
            self.stdout.write(f"{item.what}  {item.size:,} bytes")
            count, size = count + 1, size + item.size
        verb = "removed" if options["delete"] else "could go (nothing was removed; say --delete)"
        self.stdout.write(f"{count} things, {size:,} bytes {verb}")
