"""Adapters as repositories: made empty, shown or hidden, named by branches and tags, liked, and deleted."""

import re

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from hub.accounts import names
from hub.accounts.models import User
from hub.adapters import history, services
from hub.adapters.models import Adapter, Commit, Like, Ref, Release
from hub.adapters.signals import described, liked
from hub.errors import Conflict, Invalid, NoSuchRevision
from hub.jobs import services as jobs
from hub.jobs.models import JobKind

BEGINNING = "initial commit"
REF_NAME = re.compile(r"[A-Za-z0-9_](?:[\w.-]*[\w-])?(?:/[A-Za-z0-9_](?:[\w.-]*[\w-])?)*\Z", re.ASCII)
LONGEST_REF = 100
OID = re.compile(r"[0-9a-f]{40}\Z")


class AlreadyThere(Conflict):
    """You have an adapter of this name already."""

    def __init__(self, adapter: Adapter) -> None:
        super().__init__(f"you have the adapter {adapter.full_name} already")
        self.adapter = adapter


@transaction.atomic
def create(*, owner: User, name: str, private: bool = False, by: User | None = None) -> Adapter:
    """A new adapter that holds nothing yet; its library is decided by what is committed to it. `by` is who
    makes it for an organisation.

    Raises Invalid, AlreadyThere.
    """
    names.check_adapter_name(name)
    adapter, is_new = Adapter.objects.get_or_create(
        owner=owner, name_key=names.normalised(name), defaults={"name": name, "private": private}
    )
    if is_new:
        history.advance(adapter, {}, author=by or owner, message=BEGINNING)
        return adapter
    if adapter.deleted_at is not None:
        raise Invalid(
            f"{adapter.full_name} was deleted; versions of a library name it, so the name is not used twice. "
            "Choose another name."
        )
    if adapter.name != name:
        raise Invalid(f"you have {adapter.full_name!r} already, which is the same name to us as {name!r}")
    raise AlreadyThere(adapter)


@transaction.atomic
def rename(*, adapter: Adapter, name: str) -> None:
    """Call an adapter something else, while nothing refers to it: profiles of releases, versions and
    checkpoints name it. The old name is free again. Raises Invalid, Conflict.
    """
    names.check_adapter_name(name)
    locked = services.lock(adapter)
    if locked.releases.exclude(status=Release.Status.REJECTED).exists():
        raise Conflict(
            f"{locked.full_name} has releases, and versions of a library and composed checkpoints say by its "
            "name who their experts are; upload to a new name (what is stored already is not sent again)"
        )
    key = names.normalised(name)
    if Adapter.objects.filter(owner=locked.owner, name_key=key).exclude(pk=locked.pk).exists():
        raise Conflict(f"you have, or had, an adapter {name} already, and names are not used twice")
    try:
        with transaction.atomic():
            Adapter.objects.filter(pk=locked.pk).update(name=name, name_key=key)
    except IntegrityError:  # made in this very moment
        raise Conflict(f"you have an adapter {name} already") from None
    locked.name = name
    described.send(sender=Adapter, adapter=locked)


@transaction.atomic
def delete(*, adapter: Adapter, by: User) -> None:
    """Take an adapter away. One that was never released is gone and its name is free again; releases are
    withdrawn and stay in the versions that have them, and with them the name.
    """
    locked = services.lock(adapter)
    if not locked.releases.exists():
        locked.refs.all().delete()
        locked.commits.update(parent=None)
        locked.commits.all().delete()
        locked.delete()
        return
    Adapter.objects.filter(pk=locked.pk).update(deleted_at=Now())
    releases = Release.objects.filter(adapter=locked, yanked_at=None).order_by("pk")
    for release in list(releases.select_for_update(no_key=True)):  # all of them before any job
        services.yank(release=release, by=by, reason="its owner deleted the adapter")


@transaction.atomic
def show(*, adapter: Adapter, private: bool) -> None:
    """Hide an adapter from others, or show it; hidden ones are no members of the routing index."""
    locked = services.lock(adapter)
    if locked.private == private:
        return
    Adapter.objects.filter(pk=locked.pk).update(private=private)
    if locked.library is not None:
        jobs.enqueue(JobKind.INDEX, library_id=locked.library.pk)


@transaction.atomic
def add_ref(*, adapter: Adapter, kind: Ref.Kind, name: str, at: Commit, message: str = "") -> None:
    """A new branch or tag. Raises Invalid, Conflict."""
    _check_ref_name(name)
    locked = services.lock(adapter)
    for taken in locked.refs.values_list("name", flat=True):
        if taken == name:
            raise Conflict(f"{locked.full_name} has a branch or tag {name} already")
        if taken.startswith(name + "/") or name.startswith(taken + "/"):
            raise Conflict(f"{name} and {taken} cannot both be there: one would be a folder of the other")
    history.point(locked, kind, name, at, message)


@transaction.atomic
def remove_ref(*, adapter: Adapter, kind: Ref.Kind, name: str) -> None:
    """Forget a branch or tag; the commits stay. Raises Invalid, NoSuchRevision."""
    if (kind, name) == (Ref.Kind.BRANCH, history.MAIN):
        raise Invalid("main cannot be deleted: it is what the adapter is")
    locked = services.lock(adapter)
    removed, _ = locked.refs.filter(kind=kind, name=name).delete()
    if not removed:
        raise NoSuchRevision(f"{locked.full_name} has no {kind.value} {name}")


@transaction.atomic
def like(*, adapter: Adapter, by: User) -> None:
    _, is_new = Like.objects.get_or_create(adapter=adapter, user=by)
    if is_new:
        liked.send(sender=Adapter, adapter=adapter, by=1)


@transaction.atomic
def unlike(*, adapter: Adapter, by: User) -> None:
    count, _ = Like.objects.filter(adapter=adapter, user=by).delete()
    if count:
        liked.send(sender=Adapter, adapter=adapter, by=-count)


def _check_ref_name(name: str) -> None:
    fits = REF_NAME.match(name) and len(name) <= LONGEST_REF and ".." not in name
    if not fits or OID.match(name) or name.startswith("refs/"):
        raise Invalid(
            f"{name!r} is no name for a branch or tag; use up to {LONGEST_REF} of A-Z a-z 0-9 _ . - with / "
            "between parts, and nothing that looks like a commit"
        )
