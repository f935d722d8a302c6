"""Error pages for what Django and allauth refuse; hub/http.py renders the same page for our own errors."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from hub.errors import HubError, Invalid, NotAllowed, TooBusy


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001  Django's signature
    return _page(request, Invalid("The browser sent something that the hub cannot understand."), 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001
    return _page(request, NotAllowed("Your account may not do this."), 403)


def too_often(request: HttpRequest) -> HttpResponse:
    return _page(
        request, TooBusy("That was tried too often from here. Wait some minutes, then try again."), 429
    )


def csrf(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001
    """The form's secret was missing or old: a page left open over a sign-in, or cookies turned off."""
    return _page(
        request,
        NotAllowed(
            "This form was too old or came from elsewhere, so nothing was changed. "
            "Go back, reload the page and send it again. Cookies must be allowed for this site."
        ),
        403,
    )


def _page(request: HttpRequest, error: HubError, status: int) -> HttpResponse:
    return render(request, "error.html", {"error": error}, status=status)
