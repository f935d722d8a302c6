"""The pages of adapters and their releases: read, withdraw, restore."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from hub.adapters import permissions, services
from hub.adapters.models import Adapter, Release
from hub.clusters import services as clusters
from hub.errors import Invalid
from hub.pages import reading
from hub.pages.forms import ReasonForm
from hub.pages.parts import BY_SCRIPT, asked_by_script
from hub.pages.pipeline import course_of
from hub.pages.showing import adapter_page, release_page, sees_log
from hub.pages.visitors import signed_in


@require_safe
def adapter(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    found = reading.adapter_called(owner, name, request.user)
    return render(request, "adapters/adapter.html", adapter_page(request, found))


@require_safe
def release(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:
    found = _release(request, owner, name, oid)
    return render(request, "adapters/release.html", release_page(request, found))


@require_safe
@vary_on_headers(BY_SCRIPT)
def course(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:
    """The pipeline's steps alone, fetched again while they change."""
    found = _release(request, owner, name, oid)
    if not asked_by_script(request):
        return _back_to(found)
    context = {
        "release": found,
        "course": course_of(found),
        "sees_log": sees_log(request.user, found.adapter),
    }
    return render(request, "adapters/course.html", context)


@login_required
@require_POST
def yank(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:
    found = _release(request, owner, name, oid)
    permissions.require_write(request.user, found.adapter)
    services.yank(release=found, by=signed_in(request), reason=_reason(request))
    messages.success(request, "Withdrawn. New index versions leave this release out.")
    return _back_to(found)


@login_required
@require_POST
def quarantine(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:
    found = _release(request, owner, name, oid)
    permissions.require_maintain(request.user, found.adapter)
    services.quarantine(release=found, by=signed_in(request), reason=_reason(request))
    messages.success(
        request, "In quarantine. It cannot be downloaded, and the next index version leaves it out."
    )
    return _back_to(found)


@login_required
@require_POST
def restore(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:
    """Whoever may hold a release back may take that back; an owner cannot lift a quarantine."""
    found = _release(request, owner, name, oid)
    if found.quarantined_at is not None:
        permissions.require_maintain(request.user, found.adapter)
    else:
        permissions.require_write(request.user, found.adapter)
    services.restore(release=found, by=signed_in(request), reason=request.POST.get("reason", ""))
    messages.success(request, "Restored. The next index version takes it in again.")
    return _back_to(found)


@login_required
@require_POST
def share(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:
    """Its owner agrees, or no longer, that its sample rows are pooled."""
    found = _release(request, owner, name, oid)
    permissions.require_write(request.user, found.adapter)
    shared = request.POST.get("shared") == "yes"
    clusters.share_samples(release=found, by=signed_in(request), shared=shared)
    return _back_to(found)


def _reason(request: HttpRequest) -> str:
    form = ReasonForm(request.POST)
    if not form.is_valid():
        raise Invalid("A reason is needed, so that others understand it later.")
    return str(form.cleaned_data["reason"])


def _release(request: HttpRequest, owner: str, name: str, oid: str) -> Release:
    found: Adapter = reading.adapter_called(owner, name, request.user)
    return reading.release_called(found, oid)


def _back_to(found: Release) -> HttpResponse:
    return redirect("release", found.adapter.owner.username, found.adapter.name, found.oid)
