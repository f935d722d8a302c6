"""Liking an adapter, and no longer."""

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from hub.adapters import repositories
from hub.pages import reading
from hub.pages.visitors import signed_in


@login_required
@require_POST
def like(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    """Whoever presses twice, or in two windows, has said the same twice."""
    found = reading.adapter_called(owner, name, request.user)
    say = repositories.like if request.POST.get("liked") == "yes" else repositories.unlike
    say(adapter=found, by=signed_in(request))
    return redirect("adapter", found.owner.username, found.name)
