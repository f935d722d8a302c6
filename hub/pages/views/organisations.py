"""Organisations: founding them, who belongs to them, joining and leaving."""

from collections.abc import Callable
from types import MappingProxyType

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from hub.accounts import organisations, roles
from hub.accounts.models import Membership, User
from hub.accounts.roles import Role
from hub.adapters import access
from hub.errors import Conflict, Invalid, NotAllowed, NotFound
from hub.http import own_address
from hub.pages import snippets
from hub.pages.forms import InvitationForm, OrganisationForm
from hub.pages.visitors import signed_in

Action = Callable[[HttpRequest, User, User], str]


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def all_of_mine(request: HttpRequest) -> HttpResponse:
    """Where one belongs, where one is invited, and a form for a new one."""
    who, form = signed_in(request), OrganisationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = organisations.found(name=form.cleaned_data["name"], by=who)
        except (Conflict, Invalid) as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"{made.username} is founded. Invite whom you want in it.")
            return redirect("organisation", made.username)
    mine = Membership.objects.filter(user=who).select_related("organisation", "invited_by")
    context = {
        "form": form,
        "joined": [one for one in mine if one.joined_at],
        "invited": [one for one in mine if not one.joined_at],
    }
    return render(request, "accounts/organisations.html", context)


@never_cache
@login_required
@require_safe
def organisation(request: HttpRequest, name: str) -> HttpResponse:
    """Who belongs to it; for its owners with what they can do about it."""
    found, who = called(name), signed_in(request)
    mine = roles.memberships(who).filter(organisation=found).first()
    if mine is None:
        raise NotAllowed(f"Only who belongs to {found.username} sees this. Its adapters are on its page.")
    members = found.members.select_related("user", "invited_by")
    context = {
        "organisation": found,
        "mine": mine,
        "members": [one for one in members if one.joined_at],
        "invited": [one for one in members if not one.joined_at],
        "roles": Role.choices,
        "form": InvitationForm(),
        "snippet": snippets.upload_for(own_address(request), found.username),
    }
    return render(request, "accounts/organisation.html", context)


@login_required
@require_POST
def act(request: HttpRequest, name: str, action: str) -> HttpResponse:
    """Does one of the actions below, and says so, or why not."""
    found, who = called(name), signed_in(request)
    if action not in ACTIONS:
        raise NotFound
    try:
        messages.success(request, ACTIONS[action](request, who, found))
    except (Conflict, Invalid, NotFound) as error:
        messages.error(request, str(error))
    belongs = roles.memberships(who).filter(organisation=found).exists()
    return redirect("organisation", found.username) if belongs else redirect("organisations")


def called(name: str) -> User:
    """Raises NotFound."""
    found = User.objects.filter(username=name.lower(), kind=User.Kind.ORGANISATION).first()
    if found is None:
        raise NotFound(f"There is no organisation {name[:50]} here.")
    return found


def invite(request: HttpRequest, who: User, found: User) -> str:
    _require_owner(who, found)
    form = InvitationForm(request.POST)
    if not form.is_valid():
        raise Invalid("Say whom you invite, and as what.")
    person = access.person(form.cleaned_data["user"])
    organisations.invite(organisation=found, user=person, role=form.cleaned_data["role"], by=who)
    return f"{person.username} is invited, and belongs to {found.username} once they accept."


def change(request: HttpRequest, who: User, found: User) -> str:
    _require_owner(who, found)
    person, role = access.person(request.POST.get("user", "")), request.POST.get("role", "")
    organisations.change_role(organisation=found, user=person, role=role, by=who)
    return f"{person.username} is {role} now."


def remove(request: HttpRequest, who: User, found: User) -> str:
    _require_owner(who, found)
    person = access.person(request.POST.get("user", ""))
    organisations.remove(organisation=found, user=person, by=who)
    return f"{person.username} does not belong to {found.username} any more."


def accept(request: HttpRequest, who: User, found: User) -> str:  # noqa: ARG001  as the others
    organisations.accept(organisation=found, user=who)
    return f"You belong to {found.username} now."


def leave(request: HttpRequest, who: User, found: User) -> str:  # noqa: ARG001
    organisations.remove(organisation=found, user=who, by=who)
    return f"You do not belong to {found.username}."


ACTIONS: MappingProxyType[str, Action] = MappingProxyType(
    {"invite": invite, "change": change, "remove": remove, "accept": accept, "leave": leave}
)


def _require_owner(who: User, found: User) -> None:
    """Raises NotAllowed."""
    if not roles.memberships(who, Role.OWNER).filter(organisation=found).exists():
        raise NotAllowed(f"Only an owner of {found.username} decides who belongs to it.")
