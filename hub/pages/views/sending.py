"""What the upload page's script asks while it sends: in JSON, by the session; 401 when that has ended."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import resolve_url
from django.views.decorators.http import require_http_methods, require_POST

from hub.accounts import roles
from hub.adapters import pieces, plans
from hub.errors import Invalid
from hub.pages.visitors import signed_in


@require_POST
def begin(request: HttpRequest) -> HttpResponse:
    """Note what is to be sent; what of it is here already, by digest."""
    here = plans.begin(signed_in(request), plans.parsed(request.body))
    return JsonResponse({"here": {sha256: _said(*found) for sha256, found in here.items()}})


@require_http_methods(["GET", "PATCH"])
def piece(request: HttpRequest, sha256: str) -> HttpResponse:
    """How much of one file is here, and more of it: the body goes on from `offset` of `size` bytes. Both for
    the organisation that `owner` names, if there is one.
    """
    who = signed_in(request)
    of = pieces.piece(who, sha256, roles.namespace(who, request.GET.get("owner", "")))
    if request.method == "GET":
        return JsonResponse(_said(*pieces.received(of)))
    return JsonResponse(
        _said(*pieces.append(of, request, offset=_number(request, "offset"), size=_number(request, "size")))
    )


@require_POST
def finish(request: HttpRequest) -> HttpResponse:
    """Make the release, and say where it is."""
    made = plans.finish(signed_in(request), plans.parsed(request.body))
    where = resolve_url("release", made.adapter.owner.username, made.adapter.name, made.oid)
    return JsonResponse({"url": where}, status=201)


@require_POST
def forget(request: HttpRequest, name: str) -> HttpResponse:
    """Take an unfinished upload off the list."""
    plans.forget(signed_in(request), name, request.GET.get("owner", ""))
    return HttpResponse(status=204)


def _said(received: int, complete: bool) -> dict[str, int | bool]:  # noqa: FBT001  as `received` gives it
    return {"received": received, "complete": complete}


def _number(request: HttpRequest, name: str) -> int:
    """Raises Invalid."""
    said = request.GET.get(name, "")
    if not (said.isascii() and said.isdigit()):
        raise Invalid(f"{name} is {said[:40]!r}; expected a number of bytes")
    return int(said)
