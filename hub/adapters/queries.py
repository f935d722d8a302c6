"""Finding adapters and releases by what people call them."""

from hub.accounts import names
from hub.adapters import permissions
from hub.adapters.models import Adapter, CommitFile, Release
from hub.errors import NotFound
from hub.library.permissions import Visitor

MAIN = "main"


def adapter(visitor: Visitor, owner: str, name: str) -> Adapter:
    """An adapter that this visitor may know of. Raises NotFound."""
    found = (
        permissions.visible_adapters(visitor)
        .select_related("owner", "library")
        .filter(owner__username=owner.lower(), name_key=names.normalised(name), name=name)
        .first()
    )
    if found is None:
        raise NotFound(f"there is no adapter {owner}/{name}")
    return found


def release(of: Adapter, revision: str) -> Release:
    """A release by its commit's oid, or the newest by `main`. Raises NotFound."""
    releases = of.releases.select_related("commit", "adapter__owner", "adapter__library")
    wanted = releases if revision == MAIN else releases.filter(commit__oid=revision)
    found = wanted.order_by("-number").first()
    if found is None:
        raise NotFound(f"{of.full_name} has no revision {revision}")
    return found


def file(of: Release, path: str) -> CommitFile:
    """A file of a release. Raises NotFound."""
    found = CommitFile.objects.select_related("blob").filter(commit=of.commit_id, path=path).first()
    if found is None:
        raise NotFound(f"{of.adapter.full_name} has no file {path} at {of.oid}")
    return found


def admitted(library_id: int) -> int:
    """How many releases of a library have become ready so far, the withdrawn ones included."""
    return Release.objects.filter(adapter__library=library_id, status=Release.Status.READY).count()
