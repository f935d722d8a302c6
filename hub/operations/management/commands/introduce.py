"""manage.py introduce"""

from typing import Any

from django.core.management.base import CommandParser

from hub.adapters import introductions
from hub.library import services as libraries
from hub.library.models import Library
from hub.operations.command import HubCommand, library_called
from hub.operations.following import follow
from hub.operations.model_places import model_place

BASE = "base"


class Command(HubCommand):
    help = (
        "Introduce the experts of a library to query routers where that was never done, or not by the "
        "encoder that the library asks for. A new index version follows if anything changed; asking again "
        "changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument(
            "--encoder",
            help="let another sentence encoder read prompts from now on: a Hugging Face folder, a hub id, or "
            f"`{BASE}` for the base itself",
        )
        parser.add_argument("--revision", default="", help="branch, tag or commit of a hub id")
        parser.add_argument("--all", action="store_true", help="make every introduction anew")
        parser.add_argument("--dry-run", action="store_true", help="say what is there, and ask for nothing")
        parser.add_argument("--wait", action="store_true", help="follow the job until it is done")

    def handle(self, **options: Any) -> None:
        library = library_called(options["library"])
        if options["dry_run"]:
            self._say(library)
            return
        if options["encoder"] is not None:
            source = "" if options["encoder"] == BASE else model_place(options["encoder"])
            library = libraries.change_encoder(library=library, source=source, revision=options["revision"])
        self._say(library)
        job = introductions.ask(library, anew=options["all"])
        self.stdout.write(f"{job}")
        if options["wait"]:
            follow(job, say=self.stdout.write)

    def _say(self, library: Library) -> None:
        for encoder, count in introductions.by_encoder(library).items():
            self.stdout.write(f"{count} introduced by {encoder or 'nothing that is on record'}")
        wanted = library.encoder_source or f"the base, {library.base_source}"
        self.stdout.write(f"{introductions.lacking(library).count()} lack an introduction by {wanted}")
