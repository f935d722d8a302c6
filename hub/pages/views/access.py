"""Asking for a gated adapter, and its owner's answers."""

from collections.abc import Callable
from types import MappingProxyType
from typing import TypeVar

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from hub.accounts.models import User
from hub.adapters import access, permissions
from hub.adapters.models import Access, Adapter
from hub.errors import Invalid, NotFound
from hub.pages import reading
from hub.pages.forms import AskForm, DecisionForm, GatingForm, InviteForm
from hub.pages.visitors import signed_in

F = TypeVar("F", bound=forms.Form)
Action = Callable[[HttpRequest, User, Adapter], str]


@login_required
@require_POST
def act(request: HttpRequest, owner: str, name: str, action: str) -> HttpResponse:
    """Does one of the actions below, says so on the adapter's page, or says there why not."""
    found = reading.adapter_called(owner, name, request.user)
    if action not in ACTIONS:
        raise NotFound
    try:
        messages.success(request, ACTIONS[action](request, signed_in(request), found))
    except (Invalid, NotFound) as error:
        messages.error(request, str(error))
    return redirect("adapter", found.owner.username, found.name)


def ask(request: HttpRequest, who: User, adapter: Adapter) -> str:
    form = _valid(AskForm(request.POST))
    asked = access.ask(adapter=adapter, user=who, message=form.cleaned_data["message"])
    if asked.state == Access.State.ACCEPTED:
        return "You may download it now."
    return f"Asked. {adapter.owner.username} decides; this page shows how."


def take_back(request: HttpRequest, who: User, adapter: Adapter) -> str:  # noqa: ARG001  as the others
    access.take_back(adapter=adapter, user=who)
    return "Taken back."


def gate(request: HttpRequest, who: User, adapter: Adapter) -> str:
    permissions.require_write(who, adapter)
    form = _valid(GatingForm(request.POST))
    access.gate(adapter=adapter, gating=form.cleaned_data["gating"])
    return "Saved."


def invite(request: HttpRequest, who: User, adapter: Adapter) -> str:
    permissions.require_write(who, adapter)
    invited = access.person(_valid(InviteForm(request.POST)).cleaned_data["user"])
    access.invite(adapter=adapter, user=invited)
    return f"{invited.username} is in."


def decide(request: HttpRequest, who: User, adapter: Adapter) -> str:
    permissions.require_write(who, adapter)
    said = _valid(DecisionForm(request.POST)).cleaned_data
    person = access.person(said["user"])
    if said["decision"] == "removed":
        access.remove(adapter=adapter, user=person)
        return f"{person.username} has no access any more. What was downloaded stays downloaded."
    access.decide(adapter=adapter, user=person, state=said["decision"], reason=said["reason"])
    return f"{person.username} is {'in' if said['decision'] == Access.State.ACCEPTED else 'turned away'}."


ACTIONS = MappingProxyType(
    {"ask": ask, "take-back": take_back, "gate": gate, "invite": invite, "decide": decide}
)


def _valid(form: F) -> F:
    """Raises Invalid with what is wrong."""
    if not form.is_valid():
        raise Invalid(" ".join(str(line) for lines in form.errors.values() for line in lines))
    return form
