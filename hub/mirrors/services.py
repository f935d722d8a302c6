"""Asking for adapters of other hubs, and recording what came of it."""

import re
from collections.abc import Sequence
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.dispatch import receiver

from hub.accounts import names
from hub.accounts.models import User
from hub.adapters.models import Release
from hub.errors import Conflict, HubError, Invalid
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.jobs.signals import job_failed
from hub.library.models import Library
from hub.mirrors.models import Feed, Mirror, Origin

LOOK_EVERY = timedelta(hours=6)
REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}\Z", re.ASCII)
TAGS = re.compile(r"[\w.:/,-]{1,200}\Z", re.ASCII)
REVISION = re.compile(r"[\w./-]{1,200}\Z", re.ASCII)
LONGEST_NOTE = 2000
OUR_FAULT = "The hub could not finish this look; its operator can see why and try it again."


@transaction.atomic
def mirror(
    *,
    library: Library,
    by: User,
    repo: str,
    endpoint: str = "",
    revision: str = "main",
    name: str = "",
    follow: bool = False,
) -> Mirror:
    """Bring a repository of another hub into a library, owned by `by`. Asking again looks again.

    `endpoint` is one of those that the operator allows, by default the first. Raises Invalid, Conflict.
    """
    wanted = _checked(endpoint, repo, revision)
    called = name or repo.partition("/")[2]
    names.check_adapter_name(called)
    found, new = Mirror.objects.get_or_create(
        library=library,
        endpoint=wanted,
        repo=repo,
        revision=revision,
        defaults={"owner": by, "name": called, "follow": follow},
    )
    if not new and (found.owner_id, found.name) != (by.pk, called):
        raise Conflict(f"{found} is {found.owner.username}/{found.name} here already")
    if found.follow != follow:
        Mirror.objects.filter(pk=found.pk).update(follow=follow)
        found.follow = follow
    look(found)
    return found


def look(mirror: Mirror) -> Job:
    """Ask for a look at what is there now."""
    return jobs.enqueue(JobKind.IMPORT, mirror_id=mirror.pk)


def follow(mirror: Mirror, *, wanted: bool) -> None:
    """Whether to look for new revisions; what came stays."""
    Mirror.objects.filter(pk=mirror.pk).update(follow=wanted)
    mirror.follow = wanted


@transaction.atomic
def follow_list(*, library: Library, by: User, tag: str, endpoint: str = "") -> Feed:
    """Mirror and follow every repository of another hub that has this tag, also those that come later. Asking
    again looks again. Raises Invalid.
    """
    wanted, complaints = _endpoint(endpoint)
    if not TAGS.match(tag):
        complaints.append(f"tag is {tag!r}; expected one like fletch-library:tales, several with commas")
    if complaints:
        raise Invalid("; ".join(complaints))
    found, _ = Feed.objects.get_or_create(library=library, endpoint=wanted, tag=tag, defaults={"owner": by})
    jobs.enqueue(JobKind.FEED, feed_id=found.pk)
    return found


def stop(feed: Feed) -> None:
    """Follow a list no longer. What it brought stays, and is followed for itself."""
    feed.delete()


def look_at_followed() -> int:
    """Ask for a look at every list and repository that is followed and was not looked at lately; at how
    many.
    """
    stale = Q(looked_at=None) | Q(looked_at__lte=Now() - LOOK_EVERY)
    mirrors, feeds = list(Mirror.objects.filter(stale, follow=True)), list(Feed.objects.filter(stale))
    for one in mirrors:
        look(one)
    for feed in feeds:
        jobs.enqueue(JobKind.FEED, feed_id=feed.pk)
    return len(mirrors) + len(feeds)


@transaction.atomic
def record_list(claim: Claim, feed: Feed, repositories: Sequence[str]) -> int:
    """Mirror what a list names and is not mirrored from there yet; how many are new. Raises Fenced."""
    claims.hold(claim)
    known = set(
        Mirror.objects.filter(library=feed.library, endpoint=feed.endpoint).values_list("repo", flat=True)
    )
    notes = []
    for repo in repositories:
        if repo in known:
            continue
        try:
            mirror(
                library=feed.library,
                by=feed.owner,
                repo=repo,
                endpoint=feed.endpoint,
                name=repo.replace("/", "-"),
                follow=True,
            )
        except HubError as error:
            notes.append(f"{repo}: {error}")
    record_look(claim, feed.pk, count=len(repositories), note="\n".join(notes))
    return len(set(repositories) - known)


@transaction.atomic
def record_look(claim: Claim, feed_id: int, *, count: int, note: str) -> None:
    """A list was looked at. Raises Fenced."""
    claims.hold(claim)
    Feed.objects.filter(pk=feed_id).update(looked_at=Now(), count=count, note=note[:LONGEST_NOTE])


@transaction.atomic
def record_release(claim: Claim, mirror_id: int, release: Release, *, commit: str, licence: str) -> Origin:
    """What was there is a release here. Raises Fenced."""
    claims.hold(claim)
    origin, _ = Origin.objects.get_or_create(
        release=release, defaults={"mirror_id": mirror_id, "commit": commit, "licence": licence}
    )
    _looked(mirror_id, commit=commit, note="")
    return origin


@transaction.atomic
def record_nothing(claim: Claim, mirror_id: int, *, note: str, commit: str = "") -> None:
    """Nothing came of this look, and why. Raises Fenced."""
    claims.hold(claim)
    _looked(mirror_id, commit=commit, note=note)


def _looked(mirror_id: int, *, commit: str, note: str) -> None:
    facts = {"commit": commit} if commit else {}
    Mirror.objects.filter(pk=mirror_id).update(looked_at=Now(), note=note[:LONGEST_NOTE], **facts)


@receiver(job_failed)
def _import_failed(job: Job, **_: object) -> None:
    """What went wrong on our side may name places on the machine: that is for the operator alone."""
    if job.kind == JobKind.IMPORT:
        Mirror.objects.filter(pk=job.subject["mirror_id"], note="").update(note=OUR_FAULT)
    if job.kind == JobKind.FEED:
        Feed.objects.filter(pk=job.subject["feed_id"], note="").update(note=OUR_FAULT)


def _checked(endpoint: str, repo: str, revision: str) -> str:
    """The endpoint in one spelling. Raises Invalid with every complaint."""
    wanted, complaints = _endpoint(endpoint)
    if not REPOSITORY.match(repo):
        complaints.append(f"repo is {repo!r}; expected owner/name")
    if not REVISION.match(revision) or ".." in revision:
        complaints.append(f"revision is {revision!r}; expected a branch, a tag or a commit")
    if complaints:
        raise Invalid("; ".join(complaints))
    return wanted


def _endpoint(said: str) -> tuple[str, list[str]]:
    """The endpoint in one spelling, by default the first, and what is wrong with it."""
    allowed = settings.IMPORT_FROM
    wanted = said.rstrip("/") or (allowed[0] if allowed else "")
    if wanted in allowed:
        return wanted, []
    listed = ", ".join(allowed) or "none: the operator sets FLETCH_IMPORT_FROM"
    return wanted, [f"endpoint is {wanted!r}; expected one of those that this hub imports from ({listed})"]
