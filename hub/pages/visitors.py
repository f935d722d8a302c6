"""Who is asking."""

from django.http import HttpRequest

from hub.accounts.models import User
from hub.errors import NotSignedIn


def signed_in(request: HttpRequest) -> User:
    """The account behind a request whose view demands one. Raises NotSignedIn."""
    if not isinstance(request.user, User):
        raise NotSignedIn("Sign in first.")
    return request.user
