"""Pushing to other hubs from the pages of a release and of a checkpoint."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from hub.adapters import permissions
from hub.errors import Conflict, HubError, Invalid, NotOffered
from hub.exports import services
from hub.exports.services import Wish
from hub.http import own_address
from hub.indexes import queries as indexes
from hub.library.permissions import require_maintain
from hub.pages import exporting, reading
from hub.pages.forms import ExportForm
from hub.pages.parts import BY_SCRIPT, asked_by_script
from hub.pages.visitors import signed_in

ASKED = "Asked. It is pushed as soon as a worker is free; the token is forgotten then."


@sensitive_post_parameters("token")
@login_required
@require_POST
def release(request: HttpRequest, owner: str, name: str, oid: str) -> HttpResponse:
    adapter = reading.adapter_called(owner, name, request.user)
    found = reading.release_called(adapter, oid)
    permissions.require_write(request.user, adapter)
    try:
        services.export_release(
            release=found, by=signed_in(request), wish=_wish(request), hub=own_address(request)
        )
    except (Invalid, Conflict, NotOffered) as error:
        messages.error(request, _said(error))
    else:
        messages.success(request, ASKED)
    return redirect("adapter", owner, name)


@sensitive_post_parameters("token")
@login_required
@require_POST
def checkpoint(request: HttpRequest, checkpoint_id: int) -> HttpResponse:
    found = indexes.checkpoint(checkpoint_id)
    require_maintain(request.user, found.library)
    try:
        services.export_checkpoint(
            checkpoint=found, by=signed_in(request), wish=_wish(request), hub=own_address(request)
        )
    except (Invalid, Conflict, NotOffered) as error:
        messages.error(request, _said(error))
    else:
        messages.success(request, ASKED)
    return redirect("checkpoint", checkpoint_id)


@require_safe
@vary_on_headers(BY_SCRIPT)
def export(request: HttpRequest, number: int) -> HttpResponse:
    """One export: alone for the script that asks again while it is on its way, else as a page."""
    shown = exporting.one(number, request.user)
    if asked_by_script(request):
        return render(request, "exports/export.html", {"shown": shown})
    return render(request, "exports/page.html", exporting.page_of(shown))


def _wish(request: HttpRequest) -> Wish:
    """Raises Invalid with what is wrong."""
    form = ExportForm(request.POST)
    if not form.is_valid():
        raise Invalid(
            " ".join(f"{form[name].label}: {line}" for name, lines in form.errors.items() for line in lines)
        )
    return Wish(**form.cleaned_data)


def _said(error: HubError) -> str:
    text = str(error)
    return text[:1].upper() + text[1:]
