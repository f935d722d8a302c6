"""The only place where the hub's errors become HTTP."""

from collections.abc import Callable
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.exceptions import TemplateDoesNotExist
from django.views import defaults

from hub import errors

STATUS = {
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.NotAllowed: HTTPStatus.FORBIDDEN,
    errors.NotSignedIn: HTTPStatus.UNAUTHORIZED,
    errors.Disabled: HTTPStatus.FORBIDDEN,
    errors.Stale: HTTPStatus.PRECONDITION_FAILED,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.NotOffered: HTTPStatus.NOT_IMPLEMENTED,
    errors.TooBusy: HTTPStatus.TOO_MANY_REQUESTS,
    errors.NotServed: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.OtherHub: HTTPStatus.BAD_GATEWAY,
    errors.BadArchive: HTTPStatus.UNPROCESSABLE_ENTITY,
}


def own_address(request: HttpRequest) -> str:
    """Where this visitor sees the hub."""
    return request.build_absolute_uri("/").rstrip("/")


def status_of(error: errors.HubError) -> int:
    """400 unless the error is of a kind that HTTP has a better word for."""
    kinds = (STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    return next(kinds, HTTPStatus.BAD_REQUEST)


def as_json(error: errors.HubError) -> JsonResponse:
    body = {"error": error.code, "detail": str(error), "findings": error.findings}
    response = JsonResponse(body, status=status_of(error))
    if isinstance(error, errors.NotSignedIn):
        response["WWW-Authenticate"] = 'Bearer realm="fletch"'
    return response


class HubErrorMiddleware:
    """Turns an error that a page or a download raised into an answer: a page for browsers, JSON for
    programs.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "\0" in request.path:  # nothing is called so, and PostgreSQL does not even look for it
            return not_found(request, errors.NotFound())
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, errors.HubError):
            return None
        if not request.accepts("text/html") or "text/html" not in request.headers.get("Accept", ""):
            return as_json(exception)
        try:
            return render(request, "error.html", {"error": exception}, status=status_of(exception))
        except TemplateDoesNotExist:
            return as_json(exception)


API = "/api/"


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001  Django's signature
    """An address that leads nowhere."""
    if request.path.startswith(API):
        return as_json(errors.NotFound(f"there is nothing at {request.path}"))
    return render(request, "error.html", {"error": errors.NotFound()}, status=HTTPStatus.NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponse:
    """Our fault; the log has the reason, and the visitor gets no trace of it."""
    if request.path.startswith(API):
        body = {
            "error": "server_error",
            "detail": "The hub failed; its operator can see why.",
            "findings": [],
        }
        return JsonResponse(body, status=HTTPStatus.INTERNAL_SERVER_ERROR)
    return defaults.server_error(request)
