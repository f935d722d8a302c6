"""Commits: one immutable state of an adapter's files after another, and the branch that moves along.

Whoever makes a commit holds the lock on the adapter's row.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import zip_longest

from django.utils import timezone

from hub.accounts.models import User
from hub.adapters import facts, gitnames
from hub.adapters.models import Adapter, AdapterTag, Commit, CommitFile, Ref, Release, ReleaseEvent
from hub.adapters.signals import described, standing_changed
from hub.blobs.models import Blob
from hub.jobs import services as jobs
from hub.jobs.models import JobKind

MAIN = "main"
GITS_CLOCK = timedelta(seconds=1)


def head(adapter: Adapter, branch: str = MAIN) -> Commit | None:
    """The commit that a branch points at."""
    refs = Ref.objects.filter(adapter=adapter, kind=Ref.Kind.BRANCH, name=branch)
    ref = refs.select_related("commit__parent", "commit__examined_as").first()
    return ref.commit if ref else None


def tree_of(commit: Commit | None) -> dict[str, Blob]:
    """The files of a commit, path to blob; none before the first."""
    if commit is None:
        return {}
    is_fetched = "files" in vars(commit).get("_prefetched_objects_cache", {})
    files = commit.files.all() if is_fetched else commit.files.select_related("blob")
    return {file.path: file.blob for file in files}


def ancestry(commit: Commit) -> list[Commit]:
    """A commit and all before it, newest first."""
    commits = {one.pk: one for one in commit.adapter.commits.select_related("author")}
    line, found = [], commits.get(commit.pk)
    while found is not None:
        line.append(found)
        found = commits.get(found.parent_id) if found.parent_id else None
    return line


def last_changes(commit: Commit) -> dict[str, Commit]:
    """Which commit brought each file of a tree as it is there."""
    line = ancestry(commit)
    trees: dict[int, dict[str, str]] = {one.pk: {} for one in line}
    files = CommitFile.objects.filter(commit__adapter=commit.adapter_id, commit__in=trees)
    for commit_id, path, blob in files.values_list("commit", "path", "blob"):
        trees[commit_id][path] = blob
    changed: dict[str, Commit] = {}
    for newer, older in zip_longest(line, line[1:]):
        before = trees[older.pk] if older else {}
        for path, blob in trees[commit.pk].items():
            if before.get(path) != blob:
                changed.setdefault(path, newer)
    return changed


def advance(
    adapter: Adapter, tree: Mapping[str, Blob], *, author: User, message: str, branch: str = MAIN
) -> Commit:
    """Make the next commit of a branch. It stands under the examination of its parent while the adapter's own
    files stay the same.
    """
    parent = head(adapter, branch)
    commit = _commit(adapter, parent, tree, author=author, message=message)
    CommitFile.objects.bulk_create(
        CommitFile(commit=commit, path=path, blob=blob) for path, blob in tree.items()
    )
    point(adapter, Ref.Kind.BRANCH, branch, commit)
    return commit


def point(adapter: Adapter, kind: Ref.Kind, name: str, commit: Commit, message: str = "") -> None:
    """Let a name stand for a commit from now on; what main says is what the adapter is found by."""
    Ref.objects.update_or_create(
        adapter=adapter, kind=kind, name=name, defaults={"commit": commit, "message": message}
    )
    if (kind, name) == (Ref.Kind.BRANCH, MAIN):
        retag(adapter, commit)
        described.send(sender=Adapter, adapter=adapter)


def retag(adapter: Adapter, commit: Commit) -> None:
    """The words by which an adapter is found, from what a commit says."""
    AdapterTag.objects.filter(adapter=adapter).delete()
    tags = facts.tags_of(commit.card, commit.config, adapter.library)
    AdapterTag.objects.bulk_create(AdapterTag(adapter=adapter, tag=tag) for tag in tags)


def release_of(commit: Commit, *, by: User, samples: Blob | None = None) -> Release:
    """Make a release of a commit and ask for its examination."""
    adapter = commit.adapter
    last = adapter.releases.order_by("-number").first()
    number = last.number + 1 if last else 1
    release = Release.objects.create(commit=commit, adapter=adapter, number=number, samples=samples)
    commit.examined_as = release
    commit.save(update_fields=["examined_as"])
    ReleaseEvent.objects.create(release=release, what=ReleaseEvent.What.RECEIVED, by=by)
    standing_changed.send(sender=Adapter, adapter=adapter)
    jobs.enqueue(JobKind.VALIDATE, release_id=release.pk)
    return release


def _commit(
    adapter: Adapter, parent: Commit | None, tree: Mapping[str, Blob], *, author: User, message: str
) -> Commit:
    tree_oid = gitnames.tree_oid({path: blob.git_oid for path, blob in tree.items()})
    at = timezone.now().astimezone(UTC).replace(microsecond=0)  # git counts in seconds
    oid = _oid(adapter, parent, tree_oid=tree_oid, author=author, message=message, at=at)
    while Commit.objects.filter(oid=oid).exists():
        at += GITS_CLOCK
        oid = _oid(adapter, parent, tree_oid=tree_oid, author=author, message=message, at=at)
    before = tree_of(parent)
    is_same_adapter = facts.adapter_part(before) == facts.adapter_part(tree)
    return Commit.objects.create(
        adapter=adapter,
        oid=oid,
        tree_oid=tree_oid,
        parent=parent,
        author=author,
        message=message,
        created_at=at,
        card=facts.card_in(tree),
        config=facts.config_in(tree),
        examined_as=parent.examined_as if parent and is_same_adapter else None,
    )


def _oid(
    adapter: Adapter, parent: Commit | None, *, tree_oid: str, author: User, message: str, at: datetime
) -> str:
    return gitnames.commit_oid(
        tree=tree_oid,
        parent=parent.oid if parent else None,
        author=gitnames.Author.called(author.username),
        message=message,
        at=at,
        adapter=adapter.full_name,
    )
