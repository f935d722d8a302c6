"""manage.py train_clusters"""

from typing import Any

from django.core.management.base import CommandParser

from hub.clusters import services
from hub.errors import Invalid
from hub.operations.command import HubCommand, library_called, user_called


class Command(HubCommand):
    help = (
        "Train one adapter per cluster of a library on the sample rows that its members share, and upload "
        "each to the library SLUG-mbc on the same base. Asking again asks for what is missing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument("--owner", help="whose adapters they are; without it the library's maintainer's")

    def handle(self, **options: Any) -> None:
        library = library_called(options["library"])
        owner = user_called(options["owner"]) if options["owner"] else library.maintainer
        if owner is None:
            raise Invalid(f"{library.slug} has no maintainer; name the owner of the adapters with --owner")
        asked = services.ask_for_adapters(library=library, by=owner)
        for training in asked:
            adapter = f"{owner.username}/{training.adapter_name} in {training.library.slug}"
            self.stdout.write(f"cluster {training.cluster}: {adapter}")
