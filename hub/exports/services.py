"""Asking for exports to other hubs, and recording what came of them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.dispatch import receiver

from hub.accounts.models import User
from hub.adapters.models import Release
from hub.errors import Conflict, Invalid, NotOffered
from hub.exports import cargo
from hub.exports.models import Export
from hub.exports.sealing import sealed
from hub.indexes.models import ComposedCheckpoint
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.jobs.signals import job_failed
from hub.mirrors.services import LONGEST_NOTE, REPOSITORY

TOKEN = re.compile(r"[!-~]{1,500}\Z")  # what an HTTP header can carry
MOST_AT_ONCE = 20
OUR_FAULT = "The hub could not finish this export; its operator can see why. Ask for it again."
OFF = "this hub exports to no other hub; its operator decides to which it may (FLETCH_EXPORT_TO)"


@dataclass(frozen=True)
class Wish:
    """Where something is to go, and the token of whoever may write there."""

    repo: str
    token: str = field(repr=False)
    endpoint: str = ""
    private: bool = False


def export_release(*, release: Release, by: User, wish: Wish, hub: str) -> Export:
    """Push a release to a repository of another hub; `hub` is our own address, for the card there.

    Asking again while it is on its way changes the token and nothing else. Raises NotOffered, Invalid,
    Conflict.
    """
    endpoint = _checked(wish)
    cargo.check_release(release)
    return _asked({"release": release}, endpoint, by=by, wish=wish, hub=hub)


def export_checkpoint(*, checkpoint: ComposedCheckpoint, by: User, wish: Wish, hub: str) -> Export:
    """The same with a composed checkpoint. Raises NotFound and Disabled besides."""
    endpoint = _checked(wish)
    cargo.check_checkpoint(checkpoint)
    return _asked({"checkpoint": checkpoint}, endpoint, by=by, wish=wish, hub=hub)


@transaction.atomic
def _asked(subject: Mapping[str, Any], endpoint: str, *, by: User, wish: Wish, hub: str) -> Export:
    on_its_way = Export.objects.filter(by=by, status=Export.Status.REQUESTED)
    if on_its_way.count() >= MOST_AT_ONCE:
        raise Conflict(f"{MOST_AT_ONCE} exports of yours are on their way; wait until one of them has ended")
    export, is_new = Export.objects.update_or_create(
        **subject,
        endpoint=endpoint,
        repo=wish.repo,
        status=Export.Status.REQUESTED,
        defaults={"token": sealed(wish.token), "by": by, "private": wish.private, "hub": hub},
    )
    if is_new:
        jobs.enqueue(JobKind.EXPORT, export_id=export.pk)
    return export


@transaction.atomic
def record_done(claim: Claim, export_id: int, *, commit: str) -> None:
    """It is there, in this commit. Raises Fenced."""
    claims.hold(claim)
    _end(export_id, Export.Status.DONE, note="", commit=commit)


@transaction.atomic
def record_refused(claim: Claim, export_id: int, *, note: str) -> None:
    """It cannot be pushed so, and why. Raises Fenced."""
    claims.hold(claim)
    _end(export_id, Export.Status.REFUSED, note=note)


@transaction.atomic
def record_delay(claim: Claim, export_id: int, *, note: str) -> None:
    """It could not be pushed this time, and why. Raises Fenced."""
    claims.hold(claim)
    Export.objects.filter(pk=export_id).update(note=note[:LONGEST_NOTE])


def _end(export_id: int, status: Export.Status, *, note: str, commit: str = "") -> None:
    """Once; with its end the token is forgotten."""
    Export.objects.filter(pk=export_id, status=Export.Status.REQUESTED).update(
        status=status, note=note[:LONGEST_NOTE], commit=commit, token="", ended_at=Now()
    )


@receiver(job_failed)
def _export_failed(job: Job, **_: object) -> None:
    """What went wrong on our side may name places on the machine: that is for the operator alone."""
    if job.kind == JobKind.EXPORT:
        found = Export.objects.filter(pk=job.subject["export_id"]).first()
        if found is not None:
            _end(found.pk, Export.Status.FAILED, note=found.note or OUR_FAULT)


def _checked(wish: Wish) -> str:
    """The endpoint in one spelling, by default the first. Raises NotOffered; Invalid with every complaint."""
    allowed = settings.EXPORT_TO
    if not allowed:
        raise NotOffered(OFF)
    endpoint, complaints = wish.endpoint.rstrip("/") or allowed[0], []
    if endpoint not in allowed:
        complaints.append(
            f"to is {endpoint!r}; expected one of those that this hub exports to ({', '.join(allowed)})"
        )
    if not REPOSITORY.match(wish.repo):
        complaints.append(f"repo is {wish.repo!r}; expected owner/name")
    if not TOKEN.match(wish.token):
        complaints.append("token is not one; expected up to 500 letters, digits and signs without spaces")
    if complaints:
        raise Invalid("; ".join(complaints))
    return endpoint
