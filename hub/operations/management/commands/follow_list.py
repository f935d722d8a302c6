"""manage.py follow_list"""

from typing import Any

from django.core.management.base import CommandParser

from hub.jobs import queries as jobs
from hub.mirrors import services
from hub.operations.command import HubCommand, library_called, user_called
from hub.operations.following import follow


class Command(HubCommand):
    help = (
        "Mirror every repository of another hub that has a tag, for example "
        "fletch-library:tales,fletch:ready for "
        "the experts of a library there. What comes later follows; asking again looks again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument("tag", help="what the repositories are tagged with there; several with commas")
        parser.add_argument("--owner", required=True, help="whose adapters they become here")
        parser.add_argument("--endpoint", default="", help="one of FLETCH_IMPORT_FROM; by default the first")
        parser.add_argument("--wait", action="store_true", help="follow the job that reads the list")

    def handle(self, **options: Any) -> None:
        feed = services.follow_list(
            library=library_called(options["library"]),
            by=user_called(options["owner"]),
            tag=options["tag"],
            endpoint=options["endpoint"],
        )
        self.stdout.write(f"{feed} is followed")
        if options["wait"]:
            follow(jobs.about(feed_id=feed.pk).latest("pk"), say=self.stdout.write)
            feed.refresh_from_db()
            self.stdout.write(f"{feed.count} repositories{': ' + feed.note if feed.note else ''}")
