"""manage.py train_gates"""

from typing import Any

from django.core.management.base import CommandParser

from hub.adapters import services as adapters
from hub.library import services as libraries
from hub.operations.command import HubCommand, library_called


class Command(HubCommand):
    help = (
        "Train PHATGOOSE gates of every ready expert that has sample rows and no gates yet, and from now on "
        "of every new one. A new index version follows each. --stop ends that; gates that are there stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument("--stop", action="store_true", help="train no gates of new experts")

    def handle(self, **options: Any) -> None:
        library = library_called(options["library"])
        libraries.change_gate_training(library=library, wanted=not options["stop"])
        if options["stop"]:
            self.stdout.write(f"{library.slug}: gates of new experts are not trained any more")
            return
        asked = adapters.ask_for_gates(library)
        self.stdout.write(f"{library.slug}: asked for gates of {asked} experts")
