"""Commits from programs: some files put, some removed, on one branch.

A commit on main that brings another adapter becomes a release; a new card, or anything on another branch,
does not (docs/decisions/0016-repositories.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from hub import faults
from hub.accounts.models import User
from hub.adapters import facts, history, paths, quota, services
from hub.adapters.models import Adapter, Commit
from hub.blobs.models import Blob
from hub.errors import BadArchive, Invalid, NoSuchFile, NoSuchRevision, Stale, TooLarge
from hub.library import queries as libraries


@dataclass(frozen=True)
class Put:
    """These bytes at this path."""

    path: str
    blob: Blob


@dataclass(frozen=True)
class Remove:
    """No file at this path any more."""

    path: str


@dataclass(frozen=True)
class RemoveFolder:
    """Nothing below this path any more."""

    path: str


Change = Put | Remove | RemoveFolder


@transaction.atomic
def commit(
    *, adapter: Adapter, by: User, branch: str, changes: Sequence[Change], message: str, parent: str = ""
) -> Commit:
    """The head of a branch with these changes; when this returns, they are never lost.

    Changes that are there already make no commit, so that one whose answer was lost can be sent again.
    Raises NoSuchRevision, NoSuchFile, Stale, Invalid, BadArchive, TooLarge.
    """
    locked = services.lock(adapter)
    head = history.head(locked, branch)
    if head is None:
        raise NoSuchRevision(f"{locked.full_name} has no branch {branch}")
    before = history.tree_of(head)
    if _is_sent_again(head, changes, before, message=message):
        return head
    tree = applied(changes, before)
    if tree == before:
        return head
    if parent and parent != head.oid:
        raise Stale(
            f"{branch} is at {head.oid} by now, and this commit was made on {parent}; look at it again"
        )
    _check(tree, message)
    put = [change.blob for change in changes if isinstance(change, Put)]
    quota.hold(locked.owner, {blob.pk: blob.size for blob in put})
    _renew(changes)
    _find_library(locked, tree, branch)
    made = history.advance(locked, tree, author=by, message=message, branch=branch)
    if branch == history.MAIN and made.examined_as is None and facts.adapter_part(tree):
        history.release_of(made, by=by)
    faults.reach("commit.recorded")
    return made


def applied(changes: Sequence[Change], before: dict[str, Blob]) -> dict[str, Blob]:
    """A tree after some changes, one after the other. Raises NoSuchFile."""
    tree = dict(before)
    for change in changes:
        match change:
            case Put(path, blob):
                tree[path] = blob
            case Remove(path):
                if tree.pop(path, None) is None:
                    raise NoSuchFile(f"A file with this name doesn't exist: {path}")
            case RemoveFolder(path):
                inside = [name for name in tree if name.startswith(path.rstrip("/") + "/")]
                if not inside:
                    raise NoSuchFile(f"A folder with this name doesn't exist: {path}")
                for name in inside:
                    del tree[name]
    return tree


def _is_sent_again(head: Commit, changes: Sequence[Change], now: dict[str, Blob], *, message: str) -> bool:
    """Whether the head is what these very changes made of its parent."""
    if head.parent is None or head.message != message:
        return False
    try:
        return applied(changes, history.tree_of(head.parent)) == now
    except NoSuchFile:
        return False


def _check(tree: dict[str, Blob], message: str) -> None:
    limits = settings.LIMITS
    findings = paths.check_paths(list(tree)) if tree else []
    if findings:
        raise BadArchive("The files cannot be accepted so.", findings)
    size = sum(blob.size for blob in tree.values())
    if size > limits.adapter_bytes:
        raise TooLarge(f"The files have {size:,} bytes; an adapter may have {limits.adapter_bytes:,}.")
    if len(message) > limits.message_length:
        raise Invalid(f"the message has {len(message)} characters; it may have {limits.message_length}")


def _renew(changes: Sequence[Change]) -> None:
    """Keep the garbage collection from bytes that are about to be named."""
    named = {change.blob.pk for change in changes if isinstance(change, Put)}
    # in one order: two commits with the same files must not wait for each other
    held = Blob.objects.select_for_update(no_key=True).filter(pk__in=named).order_by("pk")
    if len(held) != len(named):
        raise Invalid("some of these files were removed as unused meanwhile; please send them again")
    Blob.objects.filter(pk__in=named).update(stored_at=Now())


def _find_library(adapter: Adapter, tree: dict[str, Blob], branch: str) -> None:
    """The first adapter on main decides which library it belongs to. Raises Invalid with the choices."""
    if adapter.library is not None or branch != history.MAIN or not facts.adapter_part(tree):
        return
    card, config = facts.card_in(tree), facts.config_in(tree)
    library = libraries.library_for(facts.named_bases(card, config), called=card.get("fletch_library"))
    services.settle_library(adapter, library)
