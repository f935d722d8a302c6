"""A person's contributions, and the keys of their programs."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hub.accounts import roles, services
from hub.accounts.models import ApiToken, User
from hub.accounts.roles import Role
from hub.adapters import plans
from hub.library.permissions import Visitor
from hub.pages import contributions, reading
from hub.pages.forms import TokenForm
from hub.pages.listing import contributions_of, person_called
from hub.pages.visitors import signed_in

PAGE = 50
MOST_ENDED = 30
MOST_PEOPLE = 60  # of an organisation, on its page


@require_safe
def profile(request: HttpRequest, username: str) -> HttpResponse:
    person = person_called(username)
    adapters = contributions_of(person, request.user)
    belongs = person.is_organisation and roles.holds(request.user, person, Role.MEMBER)
    context = {
        "person": person,
        "page": Paginator(adapters, PAGE).get_page(request.GET.get("page")),
        "calendar": contributions.calendar_of(person, request.user),
        "libraries": contributions.libraries_of(person, request.user),
        "members": list(person.members.filter(joined_at__isnull=False).select_related("user")[:MOST_PEOPLE]),
        "organisations": list(roles.memberships(person).select_related("organisation")),
        "belongs": belongs,
        **(_under_way(person, request.user) if belongs else {}),
    }
    return render(request, "accounts/profile.html", context)


def _under_way(organisation: User, visitor: Visitor) -> dict[str, Any]:
    """What is being uploaded for it and what the workers look at, for those who belong to it."""
    return {
        "under_way": plans.under_way(organisation),
        "in_pipeline": reading.in_pipeline(organisation),
        "uploads_for_it": roles.holds(visitor, organisation, Role.MAINTAINER),
    }


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """Lists tokens and makes new ones; a new one's secret is in this one answer and nowhere else."""
    form, secret = TokenForm(request.POST or None), ""
    if request.method == "POST" and form.is_valid():
        _, secret = services.issue_token(
            user=signed_in(request),
            name=form.cleaned_data["name"],
            scopes=form.cleaned_data["scopes"],
            expires_at=form.expires_at(),
        )
        form = TokenForm()
    context = {
        "form": form,
        "secret": secret,
        **_by_use(signed_in(request)),
    }
    return render(request, "accounts/tokens.html", context)


@login_required
@require_POST
def revoke(request: HttpRequest, token_id: int) -> HttpResponse:
    services.revoke_token(user=signed_in(request), token_id=token_id)
    messages.success(request, "The token is revoked: programs that have it are turned away from now on.")
    return redirect("tokens")


def _by_use(who: User) -> dict[str, list[ApiToken]]:
    """Those that still open something, and those that were revoked or have expired."""
    now, every = timezone.now(), list(who.api_tokens.all())
    ended = [one for one in every if one.revoked_at or (one.expires_at and one.expires_at <= now)]
    return {"tokens": [one for one in every if one not in ended], "ended": ended[:MOST_ENDED]}
