"""manage.py create_token"""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from hub.accounts import services
from hub.accounts.models import Scope
from hub.operations.command import HubCommand, user_called


class Command(HubCommand):
    help = "Make an API token for a user and print it. It is shown this once only."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--name", default="command line", help="which program has it")
        parser.add_argument(
            "--scope", action="append", choices=Scope.values, help="may be repeated (default: write)"
        )
        parser.add_argument("--days", type=int, help="expires after so many days (default: never)")

    def handle(self, **options: Any) -> None:
        expires_at = timezone.now() + timedelta(days=options["days"]) if options["days"] else None
        _, secret = services.issue_token(
            user=user_called(options["username"]),
            name=options["name"],
            scopes=options["scope"] or [Scope.WRITE],
            expires_at=expires_at,
        )
        self.stdout.write(secret)
