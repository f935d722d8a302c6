"""Repositories that are unknown here, answered from another hub (docs/decisions/0022-read-through.md).

Names under somebody who exists here are never asked elsewhere, so nobody there learns what is private here.
"""

import re
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse

from hub import ranges
from hub.accounts import visitors
from hub.accounts.models import Scope, User
from hub.accounts.names import RESERVED
from hub.errors import Invalid, NoSuchAdapter, OtherHub
from hub.hf import elsewhere, paging
from hub.hf.door import View, refusal
from hub.hf.elsewhere import Document, File, NoFileThere
from hub.hf.reading import wanted_paths

NAME = re.compile(r"[\w-](?:[\w.-]{0,94}[\w-])?\Z", re.ASCII)
SAID_ON = ("blobs", "cursor", "expand", "include_prs", "limit", "recursive", "securityStatus")
MOST_PAGES = 10
OTHERS_CHUNKS = "xetHash"  # what names it is fetched in a way that this hub does not have


def or_elsewhere(here: View, there: View) -> View:
    """A view, and for what is unknown here another one, where this hub reads through to another."""

    def answer(request: HttpRequest, **names: str) -> HttpResponseBase:
        try:
            return here(request, **names)
        except NoSuchAdapter as unknown:
            if not settings.READ_THROUGH or not _may_be_named(**names):
                raise
            token = visitors.bearer(request, Scope.READ)
            if token is None:
                raise NoSuchAdapter(
                    f"{unknown}; what is elsewhere is read for those who sign in"
                ) from unknown
            return there(request, token.user, **names)

    return answer


def _may_be_named(name: str, owner: str = "", **_rest: str) -> bool:
    """Whether somebody elsewhere may hear this name."""
    if owner.lower() in RESERVED or not (NAME.match(owner or name) and NAME.match(name)):
        return False
    return not owner or not User.objects.filter(username=owner.lower()).exists()


def model_info(request: HttpRequest, who: User, revision: str = "", **names: str) -> JsonResponse:
    of = f"/revision/{quote(revision, safe='')}" if revision else ""
    return _shown(request, elsewhere.document(who, _api(names) + of, _said(request)))


def tree(request: HttpRequest, who: User, address: str, **names: str) -> JsonResponse:
    path = f"{_api(names)}/tree/{_quoted(address)}"
    return _shown(request, elsewhere.document(who, path, _said(request)))


def paths_info(request: HttpRequest, who: User, address: str, **names: str) -> JsonResponse:
    """The other hub is only read, so its whole listing is fetched. Raises OtherHub where that is too long."""
    wanted = wanted_paths(request)
    path = f"{_api(names)}/tree/{quote(address, safe='')}"
    params = {"recursive": "true", "expand": str(wanted.expand).lower()}
    asked, entries = {path.strip("/") for path in wanted.paths}, []
    for _ in range(MOST_PAGES):
        page = elsewhere.document(who, path, params)
        entries += [entry for entry in _entries(page) if entry.get("path") in asked]
        if not page.following:
            return JsonResponse(entries, safe=False)
        path, params = _on_this_side(page.following), {}
    raise OtherHub(f"{settings.READ_THROUGH} lists more than {MOST_PAGES} pages of files there")


def refs(request: HttpRequest, who: User, **names: str) -> JsonResponse:
    return _shown(request, elsewhere.document(who, f"{_api(names)}/refs", _said(request)))


def resolve(request: HttpRequest, who: User, revision: str, path: str, **names: str) -> HttpResponseBase:
    """A file: its description, or its bytes as they come."""
    address = f"/{_repository(names)}/resolve/{_quoted(f'{revision}/{path}')}"
    try:
        if request.method == "HEAD":
            return _described(HttpResponse(), elsewhere.file(who, address), path)
        wanted = request.headers.get("Range", "")
        found = elsewhere.stream(who, address, wanted if ranges.ONE_RANGE.match(wanted) else "")
    except NoFileThere as missing:
        answer = refusal(request, missing)
        answer["X-Repo-Commit"] = missing.commit
        return answer
    response = _described(StreamingHttpResponse(found, status=found.status), found.file, path)
    for name in ("Content-Length", "Content-Range"):
        response.headers.pop(name, None)
        if name in found.headers:
            response[name] = found.headers[name]
    return response


def _described(response: HttpResponseBase, file: File, path: str) -> HttpResponseBase:
    response["X-Repo-Commit"] = file.commit
    response["ETag"] = file.etag
    if file.size:
        response["Content-Length"] = file.size
    if file.is_large:
        response["X-Linked-Etag"] = file.etag
        response["X-Linked-Size"] = file.size
    return ranges.as_a_stranger(response, path.rpartition("/")[2])


def _shown(request: HttpRequest, document: Document) -> JsonResponse:
    """As it was said, with the next page at this hub and without the names of chunks."""
    found = document.value
    if isinstance(found, list):
        found = _entries(document)
    link = ""
    if document.following:
        address = request.build_absolute_uri(_on_this_side(document.following))
        link = f'<{address}>; rel="next"'
    return paging.answer(found, link)


def _entries(document: Document) -> list[dict[str, Any]]:
    found = document.value
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise OtherHub(f"{settings.READ_THROUGH} says no list of files")
    return [{key: value for key, value in entry.items() if key != OTHERS_CHUNKS} for entry in found]


def _on_this_side(address: str) -> str:
    """The address of a next page without its host. Raises OtherHub."""
    begin = f"{settings.READ_THROUGH}/api/models/"
    if not address.startswith(begin):
        raise OtherHub(f"the next page is elsewhere: {address}")
    return address.removeprefix(settings.READ_THROUGH)


def _repository(names: dict[str, str]) -> str:
    return "/".join(names[part] for part in ("owner", "name") if part in names)


def _api(names: dict[str, str]) -> str:
    return f"/api/models/{_repository(names)}"


def _said(request: HttpRequest) -> dict[str, str | list[str]]:
    return {name: request.GET.getlist(name) for name in SAID_ON if name in request.GET}


def _quoted(address: str) -> str:
    """A revision and a path as addresses have them: servers have decoded the slashes of `refs/pr/1`.

    Raises Invalid.
    """
    parts = address.split("/")
    if {".", ".."} & set(parts):
        raise Invalid(f"{address!r} is no path of a file; expected one without . and ..")
    length = 3 if parts[0] == "refs" else 1
    revision, path = "/".join(parts[:length]), "/".join(parts[length:])
    return quote(revision, safe="") + (f"/{quote(path)}" if path else "")
