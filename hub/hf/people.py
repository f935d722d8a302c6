"""Addresses that clients print for people: each leads to the page that shows the same."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from hub.adapters.models import Release


@require_safe
def files(request: HttpRequest, owner: str, name: str, rest: str = "") -> HttpResponse:  # noqa: ARG001
    return redirect("adapter", owner, name)


@require_safe
def commit(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:  # noqa: ARG001
    """The release that was made of it; a commit without one is seen on the adapter's page."""
    made = Release.objects.filter(commit__oid=oid).exists()
    return redirect("release", owner, name, oid) if made else redirect("adapter", owner, name)
