"""manage.py train_gates"""

from typing import Any

from django.core.management.base import CommandParser

from hub.adapters import gates
from hub.library import services as libraries
from hub.library.models import GATE_SOURCES
from hub.operations.command import HubCommand, library_called


class Command(HubCommand):
    help = (
        "Train PHATGOOSE gates of every ready expert that lacks some, on its sample rows and on the "
        "library's own rows, and from now on of every new one. A new index version follows each. --stop "
        "ends that; gates that are there stay."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument("--stop", action="store_true", help="train no gates of new experts")
        parser.add_argument(
            "--prefer",
            help="whose gates to use, the preferred first, those left out not at all "
            f"(known: {','.join(GATE_SOURCES)}; the last only where it is named); trains nothing",
        )

    def handle(self, **options: Any) -> None:
        library = library_called(options["library"])
        if options["prefer"] is not None:
            sources = [source for source in options["prefer"].split(",") if source]
            libraries.change_gate_sources(library=library, sources=sources)
            self.stdout.write(f"{library.slug}: gates are used of {', '.join(sources) or 'nobody'}")
            return
        libraries.change_gate_training(library=library, wanted=not options["stop"])
        if options["stop"]:
            self.stdout.write(f"{library.slug}: gates of new experts are not trained any more")
            return
        asked = gates.ask_for_all(library)
        self.stdout.write(f"{library.slug}: asked for gates of {asked} experts")
