"""Finding adapters and releases by what people call them."""

from hub.accounts import names
from hub.adapters import permissions
from hub.adapters.history import MAIN
from hub.adapters.models import Adapter, Commit, CommitFile, Ref, Release
from hub.errors import NoSuchAdapter, NoSuchFile, NoSuchRevision
from hub.library.permissions import Visitor

OID_LENGTH = 40
REF_PREFIXES = {"refs/heads/": Ref.Kind.BRANCH, "refs/tags/": Ref.Kind.TAG}


def adapter(visitor: Visitor, owner: str, name: str) -> Adapter:
    """An adapter that this visitor may know of. Raises NotFound."""
    found = (
        permissions.visible_adapters(visitor)
        .select_related("owner", "library")
        .filter(owner__username=owner.lower(), name_key=names.normalised(name), name=name)
        .first()
    )
    if found is None:
        raise NoSuchAdapter(f"there is no adapter {owner}/{name}")
    return found


def release(of: Adapter, revision: str) -> Release:
    """A release by its commit's oid, or the newest by `main`. Raises NotFound."""
    releases = of.releases.select_related("commit", "adapter__owner", "adapter__library")
    wanted = releases if revision == MAIN else releases.filter(commit__oid=revision)
    found = wanted.order_by("-number").first()
    if found is None:
        raise NoSuchRevision(f"{of.full_name} has no revision {revision}")
    return found


def commit(of: Adapter, revision: str) -> Commit:
    """A commit by its oid, or what a branch or tag points at. Raises NoSuchRevision."""
    found, rest = commit_and_path(of, revision)
    if rest:
        raise NoSuchRevision(f"{of.full_name} has no revision {revision}")
    return found


def commit_and_path(of: Adapter, address: str) -> tuple[Commit, str]:
    """A revision and what follows it. Names of branches may hold slashes, and servers decode `%2F` before we
    see it, so the longest name that there is wins. Raises NoSuchRevision.
    """
    commits = of.commits.select_related("parent", "author", "examined_as")
    first, _, rest = address.partition("/")
    found = commits.filter(oid=first).first() if len(first) == OID_LENGTH else None
    if found is None:
        ref, rest = _ref_and_path(of, address)
        found = commits.get(pk=ref.commit_id)
    found.adapter = of
    return found, rest


def _ref_and_path(of: Adapter, address: str) -> tuple[Ref, str]:
    refs = of.refs.all()
    for prefix, kind in REF_PREFIXES.items():
        if address.startswith(prefix):
            address, refs = address.removeprefix(prefix), refs.filter(kind=kind)
    parts = address.split("/")
    names = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    for ref in sorted(refs.filter(name__in=names), key=lambda ref: (-len(ref.name), ref.kind)):
        return ref, address.removeprefix(ref.name).lstrip("/")
    raise NoSuchRevision(f"{of.full_name} has no revision {address}")


def file(of: Commit, path: str) -> CommitFile:
    """A file of a commit. Raises NoSuchFile."""
    found = of.files.select_related("blob").filter(path=path).first()
    if found is None:
        raise NoSuchFile(f"{of.adapter.full_name} has no file {path} at {of.oid}")
    return found


def admitted(library_id: int) -> int:
    """How many releases of a library have become ready so far, the withdrawn ones included."""
    return Release.objects.filter(adapter__library=library_id, status=Release.Status.READY).count()
