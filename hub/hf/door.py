"""The door of the wire protocol: a view per method, who is asking, and refusals as clients understand them.

Only tokens count here, never cookies. A refusal is a header to the clients: without X-Error-Code something
that is merely missing reads as a broken connection.
"""

from collections.abc import Callable
from typing import TypeVar

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from pydantic import BaseModel, ValidationError

from hub import errors
from hub.accounts import visitors
from hub.accounts.models import Scope, User
from hub.http import status_of
from hub.library.permissions import Visitor

View = Callable[..., HttpResponseBase]
Body = TypeVar("Body", bound=BaseModel)
CODES = {
    errors.NoSuchAdapter: "RepoNotFound",
    errors.NoSuchRevision: "RevisionNotFound",
    errors.NoSuchFile: "EntryNotFound",
    errors.Gated: "GatedRepo",
}
BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105  what clients look for, word for word
LONGEST_HEADER = 500
LARGEST_BODY = 4 * 1024 * 1024


def on(**views: View) -> View:
    """One address: a view for each method, HEAD answered by GET's."""

    @csrf_exempt
    def answer(request: HttpRequest, **names: str) -> HttpResponseBase:
        method = request.method or ""
        view = views.get("GET" if method == "HEAD" and "HEAD" not in views else method)
        if view is None:
            return HttpResponseNotAllowed(sorted(views))
        try:
            return view(request, **names)
        except errors.HubError as error:
            if "text/html" in request.headers.get("Accept", ""):
                raise  # a person followed a link, and reads the page that says why
            return refusal(request, error)

    return answer


def caller(request: HttpRequest) -> Visitor:
    """Whose token it is, or nobody in particular. Raises NotSignedIn, NotAllowed."""
    token = visitors.bearer(request, Scope.READ)
    return token.user if token else AnonymousUser()


def author(request: HttpRequest) -> User:
    """Who writes. Raises NotSignedIn, NotAllowed."""
    token = visitors.bearer(request, Scope.WRITE)
    if token is None:
        raise errors.NotSignedIn(
            "this needs a token with the scope `write`; make one in your settings on this hub"
        )
    return token.user


def body(request: HttpRequest, kind: type[Body]) -> Body:
    """The JSON that was sent, as a type. Raises TooLarge, Invalid with all that is wrong."""
    content = request.read(LARGEST_BODY + 1)
    if len(content) > LARGEST_BODY:
        raise errors.TooLarge(f"The body has more than {LARGEST_BODY:,} bytes, the most that is read here.")
    try:
        return kind.model_validate_json(content or b"{}")
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in error.errors()]
        raise errors.Invalid("; ".join(wrong)) from error


def refusal(request: HttpRequest, error: errors.HubError) -> JsonResponse:
    """An error in the words that clients know."""
    sentences = [str(error), *(_said(finding) for finding in error.findings)]
    answer = JsonResponse({"error": "\n".join(sentences)}, status=status_of(error))
    answer["X-Error-Message"] = (
        " ".join(" ".join(sentences).split())[:LONGEST_HEADER].encode("ascii", "replace").decode()
    )
    code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), None)
    if code:
        answer["X-Error-Code"] = code
    if isinstance(error, errors.TooBusy):
        answer["Retry-After"] = str(error.seconds)
    if isinstance(error, errors.NotSignedIn):
        answer["WWW-Authenticate"] = 'Bearer realm="fletch"'
        if "Authorization" in request.headers:
            answer["X-Error-Message"] = BAD_TOKEN
    if request.method == "HEAD":
        answer.content = b""
    return answer


def _said(finding: errors.FindingJson) -> str:
    return f"{finding['file']}: found {finding['found']}, expected {finding['expected']}. {finding['fix']}"


def is_true(request: HttpRequest, name: str) -> bool:
    """A flag of the query. Clients of different ages write `true`, `True` and `1`."""
    return request.GET.get(name, "").lower() in {"true", "1"}
