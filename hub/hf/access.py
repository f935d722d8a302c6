"""Asking for gated adapters, and deciding about it, as clients do: HfApi's access requests."""

from typing import Literal

from django.http import HttpRequest, HttpResponse, JsonResponse
from pydantic import BaseModel

from hub.accounts.models import User
from hub.adapters import access, queries
from hub.adapters.models import Access
from hub.errors import Conflict, Invalid, NotFound
from hub.hf.describing import time
from hub.hf.door import author, body
from hub.hf.repositories import writable


class Handled(BaseModel):
    user: str | None = None
    userId: str | None = None  # noqa: N815  the protocol's word
    status: Literal["accepted", "rejected", "pending"]
    rejectionReason: str = ""  # noqa: N815  the protocol's word


class Granted(BaseModel):
    user: str | None = None
    userId: str | None = None  # noqa: N815  the protocol's word


class Asked(BaseModel):
    message: str = ""


def requests(request: HttpRequest, owner: str, name: str, status: str) -> JsonResponse:
    """Who asked, and what was decided. Raises NotFound, NotAllowed."""
    _, found = writable(request, owner, name)
    if status not in Access.State.values:
        raise NotFound(f"there are no {status} requests; only {', '.join(Access.State.values)} ones")
    asked = found.accesses.filter(state=status).select_related("user")
    return JsonResponse([_described(one) for one in asked], safe=False)


def handle(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    _, found = writable(request, owner, name)
    wanted = body(request, Handled)
    user = _person(wanted.user, wanted.userId)
    if found.accesses.filter(user=user, state=wanted.status).exists():
        raise Conflict(f"the request of {user.username} is {wanted.status} already")
    access.decide(adapter=found, user=user, state=wanted.status, reason=wanted.rejectionReason)
    return HttpResponse()


def grant(request: HttpRequest, owner: str, name: str) -> JsonResponse:
    _, found = writable(request, owner, name)
    wanted = body(request, Granted)
    invited = access.invite(adapter=found, user=_person(wanted.user, wanted.userId))
    return JsonResponse(_described(invited))


def ask(request: HttpRequest, owner: str, name: str) -> JsonResponse:
    """As JSON, or as the form of a page."""
    who = author(request)
    found = queries.adapter(who, owner, name)
    by_program = request.content_type == "application/json"
    message = body(request, Asked).message if by_program else request.POST.get("message", "")
    asked = access.ask(adapter=found, user=who, message=message)
    return JsonResponse({"status": asked.state})


def cancel(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    who = author(request)
    access.take_back(adapter=queries.adapter(who, owner, name), user=who)
    return HttpResponse()


def _person(name: str | None, number: str | None) -> User:
    """Raises NotFound, Invalid."""
    if name:
        return access.person(name)
    found = User.objects.filter(pk=int(number)).first() if number and number.isdecimal() else None
    if found is None:
        raise Invalid(f"user is {name!r} and userId {number!r}; expected one of somebody here")
    return found


def _described(asked: Access) -> dict[str, object]:
    user = asked.user
    return {
        "requestId": str(asked.pk),
        "status": asked.state,
        "timestamp": time(asked.asked_at),
        "fields": {"message": asked.message} if asked.message else None,
        "user": {
            "_id": str(user.pk),
            "user": user.username,
            "fullname": user.get_full_name() or user.username,
            "email": None,
        },
    }
