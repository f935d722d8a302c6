"""The files of a release: `/{owner}/{name}/resolve/{revision}/{path}`."""

from functools import partial

from django.http import HttpRequest, HttpResponseBase
from django.views.decorators.http import require_safe

from hub import ranges
from hub.accounts.visitors import visitor
from hub.adapters import permissions, queries
from hub.blobs import services as blobs


@require_safe
def resolve(request: HttpRequest, owner: str, name: str, revision: str, path: str) -> HttpResponseBase:
    """One file at one revision; `main` is the newest."""
    who = visitor(request)
    release = queries.release(queries.adapter(who, owner, name), revision)
    permissions.require_files(who, release)
    blob = queries.file(release, path).blob
    download = ranges.Download(path.rpartition("/")[2], blob.sha256, blob.size, partial(blobs.read, blob))
    response = ranges.answer(request, download)
    response["X-Repo-Commit"] = release.oid
    return response
