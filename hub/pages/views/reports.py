"""Reporting an adapter, and what maintainers do about reports."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hub.adapters import permissions
from hub.adapters import services as adapters
from hub.errors import Conflict, Invalid, NotFound
from hub.http import status_of
from hub.pages import reading
from hub.pages.desk_forms import NoteForm, ReportForm
from hub.pages.views.desk import require_desk
from hub.pages.visitors import signed_in
from hub.reports import queries, services
from hub.reports.models import Report

PAGE = 20


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def report(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Says that an adapter should not be here."""
    found = reading.adapter_called(owner, name, request.user)
    form, status = ReportForm(request.POST or None), 200
    if request.method == "POST" and form.is_valid():
        try:
            services.report(adapter=found, by=signed_in(request), **form.cleaned_data)
        except Conflict as error:
            form.add_error(None, str(error))
            status = status_of(error)
        else:
            messages.success(request, "Reported. A maintainer reads it, and you are told what is done.")
            return redirect("adapter", found.owner.username, found.name)
    return render(request, "desk/report.html", {"adapter": found, "form": form}, status=status)


@never_cache
@login_required
@require_safe
def reports(request: HttpRequest) -> HttpResponse:
    """Those that are open, or those that were resolved."""
    require_desk(request)
    resolved = request.GET.get("state") == "resolved"
    mine = queries.for_desk(request.user)
    found = (
        mine.exclude(resolved_at=None).order_by("-resolved_at")
        if resolved
        else mine.filter(resolved_at=None).order_by("pk")
    )
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    return render(request, "desk/reports.html", {"page": page, "resolved": resolved})


@login_required
@require_POST
def resolve(request: HttpRequest, number: int) -> HttpResponse:
    """Dealt with, and how; and where that is wished the adapter's newest release is held back."""
    found = queries.for_desk(request.user).filter(pk=number).first()
    if found is None:
        raise NotFound("There is no such report of an adapter that you decide about.")
    form = NoteForm(request.POST)
    if not form.is_valid():
        raise Invalid("A note is needed: who reported reads what was done, and why.")
    try:
        _resolve(request, found, note=form.cleaned_data["note"], hold=form.cleaned_data["quarantine"])
    except Conflict as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "Resolved.")
    return redirect("desk_reports")


@transaction.atomic
def _resolve(request: HttpRequest, found: Report, *, note: str, hold: bool) -> None:
    who = signed_in(request)
    newest = found.adapter.releases.select_related("adapter").order_by("-number").first()
    if hold and newest is not None and newest.quarantined_at is None:
        permissions.require_maintain(who, found.adapter)
        adapters.quarantine(release=newest, by=who, reason=note)
    services.resolve(found=found, by=who, note=note)
