"""manage.py create_user"""

import secrets
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from hub.accounts.models import User
from hub.operations.command import HubCommand


class Command(HubCommand):
    help = "Make an account. Without --password one is made up and printed once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--email", default="")
        parser.add_argument(
            "--password", help="visible to other users of this machine while the command runs"
        )
        parser.add_argument(
            "--staff", action="store_true", help="may use the admin pages and maintain every library"
        )

    def handle(self, **options: Any) -> None:
        password = options["password"] or secrets.token_urlsafe(12)
        user = User(username=options["username"].lower(), email=options["email"])
        user.is_staff = user.is_superuser = options["staff"]
        user.set_password(password)
        try:
            user.full_clean()
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        user.save()
        self.stdout.write(
            f"user {user.username}" + ("" if options["password"] else f" with password {password}")
        )
