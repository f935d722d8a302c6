"""The files of a commit, for programs and for browsers: `/{owner}/{name}/resolve/{revision}/{path}`."""

from functools import partial

from django.http import HttpRequest, HttpResponseBase

from hub import ranges
from hub.accounts.visitors import visitor
from hub.adapters import permissions, queries
from hub.adapters.models import Commit
from hub.blobs import services as blobs
from hub.downloads import counting
from hub.errors import NoSuchAdapter, NoSuchFile
from hub.hf import describing, verdicts
from hub.hf.door import refusal
from hub.library.permissions import Visitor

OPEN_FILES = {"README.md", ".gitattributes"}  # also of gated adapters: what people read before they ask


def resolve(request: HttpRequest, owner: str, name: str, revision: str, path: str) -> HttpResponseBase:
    """One file at one revision: its bytes, a part of them, or what they are."""
    who = visitor(request)
    found = queries.adapter(who, owner, name)
    commit, inside = queries.commit_and_path(found, f"{revision}/{path}")
    if inside not in OPEN_FILES:
        permissions.require_let_in(who, found)
    if request.method != "HEAD":  # a refused HEAD reads as a broken connection; a refused GET as what it is
        permissions.require_files(who, commit)
    try:
        response = _bytes(request, who, commit, inside)
    except NoSuchFile as error:
        if "text/html" in request.headers.get("Accept", ""):
            raise
        response = refusal(request, error)  # with the commit, so that clients remember what it lacks
    response["X-Repo-Commit"] = commit.oid
    verdicts.warn(response, commit)
    return response


def no_owner(request: HttpRequest, **names: str) -> HttpResponseBase:  # noqa: ARG001
    """Base models of the public hub are asked for by one word; none is kept here under such a name."""
    raise NoSuchAdapter(f"there is no adapter {names['name']}; here they are all called owner/name")


def _bytes(request: HttpRequest, who: Visitor, commit: Commit, path: str) -> HttpResponseBase:
    blob = queries.file(commit, path).blob
    read = counting.counted(
        partial(blobs.read, blob), request=request, visitor=who, commit=commit, path=path, size=blob.size
    )
    download = ranges.Download(
        filename=path.rpartition("/")[2],
        sha256=blob.sha256,
        size=blob.size,
        read=read,
        known_as=describing.etag(blob),
    )
    response = ranges.answer(request, download)
    if describing.is_large(blob):
        response["X-Linked-Etag"] = download.etag
        response["X-Linked-Size"] = str(blob.size)
    return response
