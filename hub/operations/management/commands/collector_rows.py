"""manage.py collector_rows"""

import secrets
import shutil
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from hub.library import rows
from hub.operations.command import HubCommand, library_called


class Command(HubCommand):
    help = (
        "Give a library rows of your own (JSON lines of prompt and completion, or messages) on which "
        "train_gates trains the gates of all its experts. They are private; --delete forgets them."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("file", nargs="?", type=Path, help="rows.jsonl")
        what.add_argument("--delete", action="store_true", help="forget the rows that are there")

    def handle(self, **options: Any) -> None:
        library = library_called(options["library"])
        if options["delete"]:
            gone = rows.delete(library=library)
            self.stdout.write(f"{library.slug}: {'the rows are forgotten' if gone else 'there are no rows'}")
            return
        if not options["file"].is_file():
            raise CommandError(f"{options['file']} is no file")
        copy = settings.TEMPORARY / f"rows-{secrets.token_hex(8)}"
        shutil.copy(options["file"], copy)
        kept = rows.keep(library=library, file=copy, by=None)
        self.stdout.write(f"{library.slug}: {kept.lines} rows, sha256 {kept.sha256[:12]}")
