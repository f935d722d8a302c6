"""manage.py read_cards"""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from hub.adapters.models import Adapter
from hub.operations.command import HubCommand
from hub.operations.following import follow
from hub.search import meanings


class Command(HubCommand):
    help = (
        "Have workers read the cards that the search by meaning has not read as they are now. This happens "
        "by itself when a card changes. FLETCH_SEARCH_ENCODER names the encoder."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--all", action="store_true", help="read every card anew")
        parser.add_argument("--dry-run", action="store_true", help="say what is there, and ask for nothing")
        parser.add_argument("--wait", action="store_true", help="follow the job until it is done")

    def handle(self, **options: Any) -> None:
        wanted = meanings.wanted()
        if wanted is None:
            raise CommandError(
                "FLETCH_SEARCH_ENCODER is not set, so nobody searches by meaning; expected a folder or hub id"
            )
        table = meanings.current()
        name = table.encoder if table else "not loaded by any worker yet"
        self.stdout.write(f"the encoder is {wanted.source} ({name})")
        due, known = meanings.due(table).count(), Adapter.objects.filter(deleted_at=None).count()
        self.stdout.write(f"{known - due} cards are read as they are, {due} are not")
        if options["dry_run"]:
            return
        job = meanings.ask_for_all() if options["all"] else meanings.ask()
        self.stdout.write(f"{job}")
        if options["wait"]:
            follow(job, say=self.stdout.write)
