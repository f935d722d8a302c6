"""The masthead of whoever is signed in: what they have not read, and whether they have a desk."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from hub.accounts.models import User
from hub.library.permissions import maintained
from hub.notifications import queries


def bell(request: HttpRequest) -> dict[str, Any]:
    """For every template, asked for only where it is shown: `bell.unread` and `bell.said`, and `has_desk`."""
    return {
        "bell": SimpleLazyObject(lambda: _of(request)),
        "has_desk": SimpleLazyObject(lambda: request.user.is_staff or maintained(request.user).exists()),
    }


def _of(request: HttpRequest) -> dict[str, Any]:
    user = getattr(request, "user", None)
    unread = queries.unread_count(user) if isinstance(user, User) else 0
    return {"unread": unread, "said": f"{queries.COUNTED}+" if unread > queries.COUNTED else str(unread)}
