"""What a person was told, and how they want to be told."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hub.errors import NotFound
from hub.notifications import queries, services
from hub.pages.forms import positive
from hub.pages.notices import PreferencesForm, by_day
from hub.pages.visitors import signed_in

PAGE = 30


@never_cache
@login_required
@require_safe
def notifications(request: HttpRequest) -> HttpResponse:
    """All of it, newest first, or what is not read."""
    who, only_unread = signed_in(request), request.GET.get("show") == "unread"
    found = queries.unread(who) if only_unread else queries.shown(who)
    page = Paginator(found, PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "days": by_day(page.object_list),
        "only_unread": only_unread,
        "newest": queries.shown(who).values_list("pk", flat=True).first() or 0,
    }
    return render(request, "notifications/notifications.html", context)


@never_cache
@login_required
@require_safe
def opened(request: HttpRequest, number: int) -> HttpResponse:
    """Leads to what a notification is about: whoever follows it has read it."""
    found = services.mark_read(signed_in(request), number)
    if found is None:
        raise NotFound("This notification is not yours, or it is older than three months and forgotten.")
    return redirect(found.path)


@login_required
@require_POST
def read(request: HttpRequest) -> HttpResponse:
    """Marks one as read, or all that the page showed."""
    number = positive(request.POST.get("number"))
    if number is None:
        services.mark_all_read(signed_in(request), up_to=positive(request.POST.get("up_to")) or 0)
    else:
        services.mark_read(signed_in(request), number)
    return redirect("notifications")


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def preferences(request: HttpRequest) -> HttpResponse:
    who = signed_in(request)
    form = PreferencesForm(request.POST or None, known=queries.preferences(who))
    if request.method == "POST" and form.is_valid():
        services.choose(who, form.wishes())
        messages.success(request, "Saved.")
        return redirect("notification_settings")
    address = queries.confirmed_addresses([who]).get(who.pk)
    return render(request, "notifications/settings.html", {"form": form, "address": address})
