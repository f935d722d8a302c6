"""manage.py mirror"""

from typing import Any

from django.core.management.base import CommandParser

from hub.jobs import queries as jobs
from hub.mirrors import services
from hub.operations.command import HubCommand, library_called, user_called
from hub.operations.following import follow


class Command(HubCommand):
    help = "Bring an adapter of another hub into a library; asking again looks for a new revision."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("library")
        parser.add_argument("repo", help="owner/name at the other hub")
        parser.add_argument("--owner", required=True, help="whose adapter it becomes here")
        parser.add_argument("--endpoint", default="", help="one of FLETCH_IMPORT_FROM; by default the first")
        parser.add_argument("--revision", default="main", help="a branch, a tag or a commit")
        parser.add_argument("--name", default="", help="what it is called here; by default as there")
        parser.add_argument("--follow", action="store_true", help="look for new revisions from now on")
        parser.add_argument("--wait", action="store_true", help="follow the job until it is done")

    def handle(self, **options: Any) -> None:
        mirror = services.mirror(
            library=library_called(options["library"]),
            by=user_called(options["owner"]),
            repo=options["repo"],
            endpoint=options["endpoint"],
            revision=options["revision"],
            name=options["name"],
            follow=options["follow"],
        )
        self.stdout.write(f"{mirror} becomes {mirror.owner.username}/{mirror.name}")
        if options["wait"]:
            follow(jobs.about(mirror_id=mirror.pk).latest("pk"), say=self.stdout.write)
            mirror.refresh_from_db()
            self.stdout.write(mirror.note or f"brought commit {mirror.commit}")
