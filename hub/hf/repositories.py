"""Making, changing, liking and deleting repositories, and their branches and tags."""

from typing import Literal

from django.http import HttpRequest, HttpResponse, JsonResponse
from pydantic import BaseModel

from hub.accounts import roles
from hub.accounts.models import User
from hub.adapters import access, history, permissions, queries, repositories
from hub.adapters.models import Adapter, Ref
from hub.adapters.repositories import AlreadyThere
from hub.errors import NotOffered
from hub.hf.door import author, body, caller, refusal

MODEL = "model"


class NewRepository(BaseModel):
    """What clients of all ages send to make or delete a repository."""

    name: str
    organization: str | None = None
    type: str | None = MODEL
    visibility: Literal["public", "private"] | None = None
    private: bool | None = None

    @property
    def is_private(self) -> bool:
        return self.visibility == "private" or bool(self.private)


class Settings(BaseModel):
    visibility: Literal["public", "private"] | None = None
    private: bool | None = None
    gated: Literal["auto", "manual", False] | None = None


class Move(BaseModel):
    fromRepo: str  # noqa: N815  the protocol's words
    toRepo: str  # noqa: N815
    type: str | None = MODEL


class NewBranch(BaseModel):
    startingPoint: str = history.MAIN  # noqa: N815  the protocol's word


class NewTag(BaseModel):
    tag: str
    message: str | None = None


def writable(request: HttpRequest, owner: str, name: str) -> tuple[User, Adapter]:
    """Who writes, and to what. Raises NotSignedIn, NoSuchAdapter, NotAllowed."""
    who = author(request)
    found = queries.adapter(who, owner, name)
    permissions.require_write(who, found)
    return who, found


def create(request: HttpRequest) -> JsonResponse:
    who, wanted = author(request), body(request, NewRepository)
    owner, name = _owner_and_name(who, wanted)
    try:
        made = repositories.create(owner=owner, name=name, private=wanted.is_private, by=who)
    except AlreadyThere as error:  # clients that do not mind read the address of the one that is there
        known = {**_address(request, error.adapter), "error": str(error)}
        answer = refusal(request, error)
        return JsonResponse(known, status=answer.status_code, headers={"X-Error-Message": str(error)})
    return JsonResponse(_address(request, made))


def delete(request: HttpRequest) -> HttpResponse:
    wanted = body(request, NewRepository)
    owner, _, name = f"{wanted.organization or author(request).username}/{wanted.name}".rpartition("/")
    who, found = writable(request, owner, name)
    repositories.delete(adapter=found, by=who)
    return HttpResponse("deleted", content_type="text/plain")


def move(request: HttpRequest) -> JsonResponse:
    """Another name in the same namespace, while nothing refers to it. Raises NotOffered, Conflict."""
    wanted = body(request, Move)
    owner, _, name = wanted.fromRepo.partition("/")
    _, found = writable(request, owner, name)
    target, _, new_name = wanted.toRepo.partition("/")
    if target.lower() != found.owner.username:
        raise NotOffered(
            f"an adapter stays with its owner: found {wanted.toRepo!r}, "
            f"expected {found.owner.username}/ and a name"
        )
    repositories.rename(adapter=found, name=new_name)
    found.refresh_from_db(fields=["name", "name_key"])
    return JsonResponse(_address(request, found))


def settings(request: HttpRequest, owner: str, name: str) -> JsonResponse:
    _, found = writable(request, owner, name)
    wanted = body(request, Settings)
    if "gated" in wanted.model_fields_set:
        access.gate(adapter=found, gating=wanted.gated or Adapter.Gating.OPEN)
    if wanted.visibility is not None or wanted.private is not None:
        repositories.show(adapter=found, private=wanted.visibility == "private" or bool(wanted.private))
    found.refresh_from_db(fields=["private", "gating"])
    return JsonResponse({"private": found.private, "gated": found.gating or False})


def auth_check(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    queries.adapter(caller(request), owner, name)
    return HttpResponse()


def auth_check_write(request: HttpRequest, owner: str, name: str) -> HttpResponse:
    writable(request, owner, name)
    return HttpResponse()


def like(request: HttpRequest, owner: str, name: str) -> JsonResponse:
    who = author(request)
    found = queries.adapter(who, owner, name)
    repositories.like(adapter=found, by=who)
    return JsonResponse({"likes": found.likes.count()})


def unlike(request: HttpRequest, owner: str, name: str) -> JsonResponse:
    who = author(request)
    found = queries.adapter(who, owner, name)
    repositories.unlike(adapter=found, by=who)
    return JsonResponse({"likes": found.likes.count()})


def add_branch(request: HttpRequest, owner: str, name: str, ref: str) -> HttpResponse:
    _, found = writable(request, owner, name)
    start = queries.commit(found, body(request, NewBranch).startingPoint)
    repositories.add_ref(adapter=found, kind=Ref.Kind.BRANCH, name=ref, at=start)
    return HttpResponse()


def remove_branch(request: HttpRequest, owner: str, name: str, ref: str) -> HttpResponse:
    _, found = writable(request, owner, name)
    repositories.remove_ref(adapter=found, kind=Ref.Kind.BRANCH, name=ref)
    return HttpResponse()


def add_tag(request: HttpRequest, owner: str, name: str, ref: str) -> HttpResponse:
    """The address says what is tagged; the body says how it is called."""
    _, found = writable(request, owner, name)
    wanted = body(request, NewTag)
    at = queries.commit(found, ref)
    repositories.add_ref(
        adapter=found, kind=Ref.Kind.TAG, name=wanted.tag, at=at, message=wanted.message or ""
    )
    return HttpResponse()


def remove_tag(request: HttpRequest, owner: str, name: str, ref: str) -> HttpResponse:
    _, found = writable(request, owner, name)
    repositories.remove_ref(adapter=found, kind=Ref.Kind.TAG, name=ref)
    return HttpResponse()


def _owner_and_name(who: User, wanted: NewRepository) -> tuple[User, str]:
    """In the caller's own namespace, or an organisation's of theirs. Raises NotOffered, NotAllowed."""
    if (wanted.type or MODEL) != MODEL:
        raise NotOffered(
            f"This hub keeps adapters only, as repositories of the type `model`; it has no {wanted.type}."
        )
    owner, _, name = wanted.name.rpartition("/")
    return roles.namespace(who, wanted.organization or owner), name


def _address(request: HttpRequest, adapter: Adapter) -> dict[str, str]:
    """With the host that the client used: it takes the address apart by its own endpoint."""
    url = request.build_absolute_uri(f"/{adapter.full_name}")
    return {"url": url, "name": adapter.full_name, "id": str(adapter.pk)}
