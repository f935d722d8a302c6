"""manage.py cluster_library"""

from typing import Any

from django.core.management.base import CommandParser

from hub.clusters import services
from hub.operations.command import HubCommand, library_called


class Command(HubCommand):
    help = (
        "Find the clusters, nearest neighbours and the map of a library's newest version. This follows each "
        "published version by itself; --count asks for so many clusters, now and later."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument("--count", type=int, help="how many clusters; without it, as many as are clear")

    def handle(self, **options: Any) -> None:
        library = library_called(options["library"])
        job = services.ask_for_clusters(library=library, count=options["count"])
        self.stdout.write(f"{library.slug}: asked for clusters (job {job.pk})")
