"""manage.py quarantine"""

from typing import Any

from django.core.management.base import CommandParser

from hub.adapters import history, queries, services
from hub.operations.command import HubCommand, adapter_called


class Command(HubCommand):
    help = (
        "Hold back a release: no downloads, a new index version without it, and old versions that name it "
        "can no longer be served. `--restore` takes it back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("adapter", help="owner/name")
        parser.add_argument(
            "--revision", default=history.MAIN, help="a release's 40-hex id (default: the newest)"
        )
        parser.add_argument("--reason", default="", help="the owner and the maintainers read it")
        parser.add_argument("--restore", action="store_true", help="take a quarantine or a yank back")

    def handle(self, **options: Any) -> None:
        release = queries.release(adapter_called(options["adapter"]), options["revision"])
        if options["restore"]:
            services.restore(release=release, by=None, reason=options["reason"])
            self.stdout.write(f"{release} is restored")
        else:
            services.quarantine(release=release, by=None, reason=options["reason"])
            self.stdout.write(f"{release} is in quarantine")
