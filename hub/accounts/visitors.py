"""Who is asking: a bearer token wherever there is one, a session for reading, and never a cookie for
writing.
"""

from typing import cast

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from ninja.security import HttpBearer

from hub.accounts import services
from hub.accounts.models import ApiToken, Scope, User
from hub.errors import NotAllowed, NotSignedIn

IMPLIED = {
    Scope.READ: {Scope.READ, Scope.WRITE, Scope.ADMIN},
    Scope.WRITE: {Scope.WRITE, Scope.ADMIN},
    Scope.INFER: {Scope.INFER, Scope.READ, Scope.WRITE, Scope.ADMIN},
    Scope.ADMIN: {Scope.ADMIN},
}
SCHEME = "bearer "


def visitor(request: HttpRequest, scope: Scope = Scope.READ) -> User | AnonymousUser:
    """Who reads: the token's owner, else the session's user, else nobody in particular. Raises NotSignedIn,
    NotAllowed.
    """
    token = bearer(request, scope)
    return token.user if token else request.user


def bearer(request: HttpRequest, scope: Scope) -> ApiToken | None:
    """The token that a request brings, if it brings one. Raises NotSignedIn, NotAllowed."""
    header = request.headers.get("Authorization", "")
    if not header.lower().startswith(SCHEME):
        return None
    return _with_scope(services.authenticate(header[len(SCHEME) :].strip()), scope)


def _with_scope(token: ApiToken, scope: Scope) -> ApiToken:
    if not IMPLIED[scope] & set(token.scopes):
        raise NotAllowed(f"this token has the scopes {', '.join(token.scopes)}; this needs {scope.value}")
    return token


class Bearer(HttpBearer):
    """Lets in a token with a scope, and nothing else: a page of another site cannot write in your name."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope

    def authenticate(self, request: HttpRequest, token: str) -> ApiToken:  # noqa: ARG002
        return _with_scope(services.authenticate(token), self.scope)


class AnyVisitor(HttpBearer):
    """Lets everybody in and says who they are; a token must have the scope."""

    def __init__(self, scope: Scope = Scope.READ) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest) -> User | AnonymousUser:
        return visitor(request, self.scope)

    def authenticate(self, request: HttpRequest, token: str) -> None:
        """Never asked: `__call__` looks at the header itself."""


def author(request: HttpRequest) -> User:
    """The person whose token was let in. Raises NotSignedIn."""
    token = getattr(request, "auth", None)
    if not isinstance(token, ApiToken):
        raise NotSignedIn
    return token.user


def person(request: HttpRequest) -> User:
    """The visitor that was let in, who must be somebody. Raises NotSignedIn."""
    found = reader(request)
    if not isinstance(found, User):
        raise NotSignedIn
    return found


def reader(request: HttpRequest) -> User | AnonymousUser:
    """The visitor that was let in."""
    return cast("User | AnonymousUser", getattr(request, "auth", request.user))
