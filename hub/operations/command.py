"""What every operator command shares: refusals of the hub are one sentence on the terminal, never a trace."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hub.accounts.models import User
from hub.adapters.models import Adapter
from hub.errors import HubError
from hub.library.models import Library


class HubCommand(BaseCommand):
    """A command whose `handle` may raise HubErrors."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except HubError as error:
            lines = [str(error), *(f"{found['file']}: {found['found']}" for found in error.findings)]
            raise CommandError("\n".join(lines)) from error


def user_called(name: str) -> User:
    """Raises CommandError."""
    found = User.objects.filter(username=name.lower()).first()
    if found is None:
        raise CommandError(f"there is no user {name}; `manage.py create_user {name}` makes one")
    return found


def library_called(slug: str) -> Library:
    """Raises CommandError."""
    found = Library.objects.select_related("current").filter(slug=slug).first()
    if found is None:
        known = ", ".join(Library.objects.values_list("slug", flat=True)) or "none yet"
        raise CommandError(f"there is no library {slug}; there are: {known}")
    return found


def adapter_called(full_name: str) -> Adapter:
    """Raises CommandError."""
    owner, _, name = full_name.partition("/")
    adapters = Adapter.objects.select_related("owner", "library")
    found = adapters.filter(owner__username=owner.lower(), name=name).first()
    if found is None:
        raise CommandError(f"there is no adapter {full_name}; expected owner/name")
    return found
