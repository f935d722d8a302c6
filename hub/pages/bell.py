"""The bell in the masthead: what a visitor was told and has not read. Asked for only where it is shown."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from hub.accounts.models import User
from hub.notifications import queries


def bell(request: HttpRequest) -> dict[str, Any]:
    """For every template: `bell.unread`, and `bell.said` where there are more than one counts."""
    return {"bell": SimpleLazyObject(lambda: _of(request))}


def _of(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    unread = queries.unread_count(user) if isinstance(user, User) else 0
    return {"unread": unread, "said": f"{queries.COUNTED}+" if unread > queries.COUNTED else str(unread)}
