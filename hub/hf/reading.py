"""Reading an adapter: what it is, its files, its history, its branches and tags."""

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest, JsonResponse
from pydantic import BaseModel, Field

from hub.adapters import history, queries
from hub.adapters.models import Adapter, Commit, Ref
from hub.blobs.models import Blob
from hub.errors import NoSuchFile
from hub.hf import describing, paging, verdicts
from hub.hf.describing import EVERYTHING, Shown
from hub.hf.door import body, caller, is_true

FILES_A_PAGE = 1000
COMMITS_A_PAGE = 100


def adapter(request: HttpRequest, owner: str, name: str) -> Adapter:
    """The adapter of an address. Raises NoSuchAdapter, also for what the caller may not know of."""
    return queries.adapter(caller(request), owner, name)


def model_info(request: HttpRequest, owner: str, name: str, revision: str = history.MAIN) -> JsonResponse:
    found = adapter(request, owner, name)
    shown = Shown(found, queries.commit(found, revision), likes=found.likes.count())
    answer = describing.model(shown, request.GET.getlist("expand") or EVERYTHING)
    if is_true(request, "blobs"):
        answer["siblings"] = [describing.sibling(path, blob, blobs=True) for path, blob in shown.tree.items()]
    if is_true(request, "securityStatus"):
        answer["securityRepoStatus"] = verdicts.repository_status(shown.release)
    response = JsonResponse(answer)
    if shown.commit is not None:
        verdicts.warn(response, shown.commit)
    return response


def tree(request: HttpRequest, owner: str, name: str, address: str) -> JsonResponse:
    """The files and folders below a folder of a commit. Raises NoSuchFile."""
    found = adapter(request, owner, name)
    commit, path = queries.commit_and_path(found, address)
    files = history.tree_of(commit)
    inside = {
        file: blob for file, blob in files.items() if not path or file.startswith(path.rstrip("/") + "/")
    }
    if path and not inside:
        raise NoSuchFile(f"{found.full_name} has no folder {path} at {commit.oid}")
    below = path.rstrip("/") + "/" if path else ""
    entries = _entries(inside, files, below=below, deep=is_true(request, "recursive"))
    page, link = paging.page(request, entries, FILES_A_PAGE)
    if is_true(request, "expand"):
        page = _expanded(commit, page)
    return paging.answer(page, link)


def _entries(
    inside: dict[str, Blob], files: dict[str, Blob], *, below: str, deep: bool
) -> list[dict[str, Any]]:
    """Folders first, as git's own listing has them where they stand."""
    folders: dict[str, None] = {}
    for path in inside:
        parts = path.removeprefix(below).split("/")[:-1]
        for depth in range(1, (len(parts) if deep else min(1, len(parts))) + 1):
            folders.setdefault(below + "/".join(parts[:depth]))
    shown = [(path, blob) for path, blob in inside.items() if deep or "/" not in path.removeprefix(below)]
    return [
        *(describing.folder(path, files) for path in folders),
        *(describing.file(path, blob) for path, blob in shown),
    ]


class Paths(BaseModel):
    """Which files are asked about."""

    paths: list[str] = Field(max_length=10_000)
    expand: bool = False


def paths_info(request: HttpRequest, owner: str, name: str, address: str) -> JsonResponse:
    """Some files and folders of a commit; those that are not there are left out."""
    found = adapter(request, owner, name)
    wanted = wanted_paths(request)
    commit = queries.commit(found, address)
    files = history.tree_of(commit)
    entries = []
    for path in (path.strip("/") for path in wanted.paths):
        if path in files:
            entries.append(describing.file(path, files[path]))
        elif any(file.startswith(path + "/") for file in files):
            entries.append(describing.folder(path, files))
    return JsonResponse(_expanded(commit, entries) if wanted.expand else entries, safe=False)


def wanted_paths(request: HttpRequest) -> Paths:
    """Python's client sends a form, JavaScript's sends JSON."""
    if request.content_type == "application/json":
        return body(request, Paths)
    return Paths(
        paths=request.POST.getlist("paths"), expand=request.POST.get("expand", "").lower() in {"true", "1"}
    )


def _expanded(commit: Commit, entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the commit that last changed each, and what the hub says of files."""
    changed = history.last_changes(commit)
    status = {
        "status": verdicts.file_status(commit.examined_as),
        "avScan": None,
        "pickleImportScan": None,
    }
    expanded = []
    for entry in entries:
        inside = (path for path in changed if path == entry["path"] or path.startswith(entry["path"] + "/"))
        newest = max((changed[path] for path in inside), key=lambda found: found.pk)
        said = {"securityFileStatus": status} if entry["type"] == "file" else {}
        expanded.append({**entry, "lastCommit": describing.last_commit(newest), **said})
    return expanded


def refs(request: HttpRequest, owner: str, name: str) -> JsonResponse:
    found = adapter(request, owner, name)
    named = list(found.refs.select_related("commit"))
    answer: dict[str, Any] = {
        "branches": [_ref(ref, "refs/heads/") for ref in named if ref.kind == Ref.Kind.BRANCH],
        "tags": [_ref(ref, "refs/tags/") for ref in named if ref.kind == Ref.Kind.TAG],
        "converts": [],
    }
    if is_true(request, "include_prs"):
        answer["pullRequests"] = []
    return JsonResponse(answer)


def _ref(ref: Ref, prefix: str) -> dict[str, str]:
    return {"name": ref.name, "ref": prefix + ref.name, "targetCommit": ref.commit.oid}


def commits(request: HttpRequest, owner: str, name: str, address: str) -> JsonResponse:
    """The history of a revision, newest first."""
    found = adapter(request, owner, name)
    line = history.ancestry(queries.commit(found, address))
    page, link = paging.page(request, line, COMMITS_A_PAGE)
    return paging.answer([describing.commit(one) for one in page], link)
