"""Fix and try again: a new release of the same adapter, made of one that is here."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from hub.adapters import mending, permissions, plans
from hub.adapters.models import Release
from hub.adapters.uploading import refuse_if_stopped
from hub.errors import HubError
from hub.http import status_of
from hub.pages import reading
from hub.pages.mending import Mending, changes_in, mending_of, with_typed
from hub.pages.views.uploads import created
from hub.pages.visitors import signed_in


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def mend(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:
    adapter = reading.adapter_called(owner, name, request.user)
    permissions.require_write(request.user, adapter)
    release = reading.release_called(adapter, oid)
    found = mending_of(release)
    if request.method != "POST":
        return _page(request, release, found)
    try:
        made = _mended(request, release, found)
    except HubError as error:
        return _page(request, release, with_typed(found, request), error)
    plans.forget(signed_in(request), name, owner)
    return created(request, made)


def _mended(request: HttpRequest, release: Release, found: Mending) -> Release:
    refuse_if_stopped(request)
    message = request.POST.get("message", "").strip()
    with changes_in(request, found.parts, release.adapter.owner) as changes:
        return mending.mend(release, changes, message=message, by=signed_in(request))


def _page(
    request: HttpRequest, release: Release, found: Mending, error: HubError | None = None
) -> HttpResponse:
    context = {"adapter": release.adapter, "release": release, "mending": found, "error": error}
    return render(request, "adapters/mend.html", context, status=status_of(error) if error else 200)
