"""Receiving uploads, and recording what became of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from hub import faults
from hub.accounts import names, roles
from hub.accounts.models import User
from hub.adapters import gates, gitnames, history, paths, queries, quota
from hub.adapters.finite import finite
from hub.adapters.introductions import Introduction
from hub.adapters.models import Adapter, Release, ReleaseEvent
from hub.adapters.signals import settling, standing_changed
from hub.adapters.staging import StagedFile
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.decisions import services as decisions
from hub.decisions.models import Decision
from hub.errors import BadArchive, Conflict, FindingJson, Invalid, TooLarge
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import JobKind
from hub.library.models import Library

AWAITS_REVIEW = "A maintainer of this library looks at each release before it serves."


class Overtaken(Conflict):
    """Another release of this library became ready while this one was being compared with the others."""


def receive_upload(  # noqa: PLR0913  what an upload is
    *,
    owner: User,
    library: Library,
    name: str,
    files: Sequence[StagedFile],
    message: str = "",
    samples: Path | None = None,
    private: bool = False,
    by: User | None = None,
) -> Release:
    """Keep an upload and ask for its validation. When this returns, the upload is never lost.

    `by` is who uploads where the owner is an organisation; whether their role allows it is asked here, when
    the release is made.

    The same files again give the release that is there, unless they bring other sample rows: mended samples
    are examined anew. Raises NotAllowed, Invalid, Conflict, BadArchive, TooLarge, StorageFull.
    """
    names.check_adapter_name(name)
    _check_library(library)
    _check_sizes(files, samples=samples, message=message)
    findings = paths.check_paths([file.path for file in files])
    if findings:
        raise BadArchive("The files cannot be accepted; the findings say why.", findings)
    tree = {file.path: blobs.store_file(file.source) for file in files}
    sample_blob = blobs.store_file(samples) if samples else None
    faults.reach("upload.before_row")
    release = _record_upload(
        owner,
        library,
        name,
        tree=tree,
        message=message,
        samples=sample_blob,
        private=private,
        by=by or owner,
    )
    faults.reach("upload.committed")
    return release


@transaction.atomic
def _record_upload(  # noqa: PLR0913
    owner: User,
    library: Library,
    name: str,
    *,
    tree: Mapping[str, Blob],
    message: str,
    samples: Blob | None,
    private: bool,
    by: User,
) -> Release:
    adapter = _adapter(owner, library, name, private=private)
    last = history.head(adapter)
    tree_oid = gitnames.tree_oid({path: blob.git_oid for path, blob in tree.items()})
    known = last.examined_as if last is not None and last.tree_oid == tree_oid else None
    if known is not None and samples in (None, known.samples):
        return known
    brought = [*tree.values(), *([samples] if samples else [])]
    quota.hold(owner, {blob.pk: blob.size for blob in brought})
    roles.require_uploader(by, owner)  # under the owner's lock, so that nobody is put out meanwhile
    commit = history.advance(adapter, tree, author=by, message=message)
    release = history.release_of(commit, by=by, samples=samples)
    faults.reach("upload.row_inserted")
    return release


def _adapter(owner: User, library: Library, name: str, *, private: bool) -> Adapter:
    """The owner's adapter of that name, locked until commit; made when it is new."""
    adapter, _ = Adapter.objects.get_or_create(
        owner=owner,
        name_key=names.normalised(name),
        defaults={"name": name, "library": library, "private": private},
    )
    _check_adapter(adapter, library, name, private=private)
    found = lock(adapter)
    if found.library is None:
        settle_library(found, library)
    _check_adapter(found, library, name, private=private)
    return found


def _check_adapter(adapter: Adapter, library: Library, name: str, *, private: bool) -> None:
    """Can a release of this name and privacy for this library be one of this adapter? Raises Conflict."""
    if adapter.name != name:
        raise Conflict(
            f"there is an adapter {adapter.full_name} already, which is the same name to us as {name!r}"
        )
    if private and not adapter.private:
        raise Conflict(
            f"{adapter.full_name} is public, so a private release of it is not possible; choose another name"
        )
    if adapter.deleted_at is not None:
        raise Conflict(f"{adapter.full_name} was deleted, and names are not used twice; choose another name")
    if adapter.library is not None and adapter.library != library:
        raise Conflict(f"{adapter.full_name} belongs to the library {adapter.library}, not to {library.slug}")


def check_intention(*, owner: User, library: Library, name: str, private: bool) -> None:
    """What would refuse an upload whatever its files are: asked before a byte of them is sent. Raises
    Invalid, Conflict.
    """
    names.check_adapter_name(name)
    _check_library(library)
    there = Adapter.objects.select_related("owner", "library")
    known = there.filter(owner=owner, name_key=names.normalised(name)).first()
    if known is not None:
        _check_adapter(known, library, name, private=private)


def lock(adapter: Adapter) -> Adapter:
    """The adapter as it is now, held by this transaction until it ends."""
    locked = Adapter.objects.select_for_update(of=("self",), no_key=True)
    return locked.select_related("owner", "library").get(pk=adapter.pk)


def settle_library(adapter: Adapter, library: Library) -> None:
    """An adapter that was named before its library was known belongs to one from now on."""
    _check_library(library)
    Adapter.objects.filter(pk=adapter.pk, library=None).update(library=library)
    adapter.library = library


@transaction.atomic
def record_report(
    claim: Claim,
    release_id: int,
    findings: Sequence[FindingJson],
    measurements: Mapping[str, Any] | None = None,
) -> bool:
    """Settle what validation found: rejected when a finding is an error, else validated, and vectors are
    asked for.

    False when it was recorded before. Raises Fenced.
    """
    release = Release.objects.select_for_update(no_key=True).get(pk=release_id)
    settling.send(sender=Adapter, adapter=release.adapter)
    claims.hold(claim)
    rejected = any(finding["severity"] == "error" for finding in findings)
    open_statuses = (
        [Release.Status.RECEIVED, Release.Status.VALIDATED] if rejected else [Release.Status.RECEIVED]
    )
    if release.status not in open_statuses:
        return False
    status = Release.Status.REJECTED if rejected else Release.Status.VALIDATED
    Release.objects.filter(pk=release_id).update(
        status=status,
        findings=finite(list(findings)),
        measurements=finite({**release.measurements, **(measurements or {})}),
        settled_at=Now() if rejected else None,
    )
    ReleaseEvent.objects.create(release=release, what=status.value)
    standing_changed.send(sender=Adapter, adapter=release.adapter)
    if not rejected:
        jobs.enqueue(JobKind.VECTORS, release_id=release_id)
    return True


@transaction.atomic
def record_vectors(  # noqa: PLR0913  what the worker computed
    claim: Claim,
    release_id: int,
    *,
    vectors_digest: str,
    vectors_size: int,
    factors_digest: str,
    factors_size: int,
    profile: Introduction | None = None,
    statistics: Mapping[str, Any],
    fingerprint: bytes,
    compared_with: int | None = None,
    doubts: Sequence[FindingJson] = (),
) -> bool:
    """Make a validated release ready to be an expert, and ask for an index version with it.

    `compared_with` is how many ready releases of the library it was compared with for copies. With `doubts`,
    and where its library looks at each, it begins in quarantine, for a maintainer to look at. False when it
    was recorded before. Raises Fenced; Overtaken when there are more by now: compare again.
    """
    release = (
        Release.objects.select_related("adapter__library")
        .select_for_update(of=("self",), no_key=True)
        .get(pk=release_id)
    )
    # one admission at a time
    library = Library.objects.select_for_update(no_key=True).get(pk=release.library.pk)
    settling.send(sender=Adapter, adapter=release.adapter)
    claims.hold(claim)
    if release.status != Release.Status.VALIDATED:
        return False
    if compared_with is not None and queries.admitted(release.library.pk) != compared_with:
        raise Overtaken
    Release.objects.filter(pk=release_id).update(
        status=Release.Status.READY,
        vectors_digest=vectors_digest,
        vectors_size=vectors_size,
        factors_digest=factors_digest,
        factors_size=factors_size,
        **({} if profile is None else profile.fields),
        statistics=finite(dict(statistics)),
        fingerprint=fingerprint,
        settled_at=Now(),
        findings=finite([*release.findings, *doubts]),
    )
    ReleaseEvent.objects.create(release=release, what=ReleaseEvent.What.READY)
    release.refresh_from_db()
    standing_changed.send(sender=Adapter, adapter=release.adapter)
    if doubts:
        quarantine(release=release, by=None, reason=reason_of(doubts))
    elif library.review_releases and not release.adapter.private:
        quarantine(release=release, by=None, reason=AWAITS_REVIEW)
    jobs.enqueue(JobKind.INDEX, library_id=release.library.pk)
    gates.ask_for_one(release)
    if profile is not None and not library.embeds_as(profile.encoder):  # it changed meanwhile
        jobs.enqueue(JobKind.INTRODUCE, library_id=library.pk)
    return True


def reason_of(doubts: Sequence[FindingJson]) -> str:
    """What the owner and the maintainers read about something that the hub held back by itself."""
    return "; ".join(f"{doubt['found']}, expected {doubt['expected']}" for doubt in doubts)


def yank(*, release: Release, by: User, reason: str = "") -> None:
    """Withdrawn by its owner: old index versions keep it, new ones leave it out."""
    _change_standing(release, ReleaseEvent.What.YANKED, by=by, reason=reason, fields={"yanked_at": Now()})


def quarantine(*, release: Release, by: User | None, reason: str) -> None:
    """Held back by a maintainer: no downloads, and a new index version without it. Raises Invalid."""
    if not reason.strip():
        raise Invalid("a quarantine needs a reason; the owner and the other maintainers read it")
    _change_standing(
        release, ReleaseEvent.What.QUARANTINED, by=by, reason=reason, fields={"quarantined_at": Now()}
    )


@transaction.atomic
def restore(*, release: Release, by: User | None, reason: str = "") -> None:
    """Take back a yank and a quarantine. Raises Conflict when it came into quarantine since `release` was
    read: who may restore depends on that.
    """
    now = Release.objects.select_for_update(no_key=True).get(pk=release.pk)
    if now.quarantined_at != release.quarantined_at:
        raise Conflict("its quarantine changed at this moment; look at it again")
    fields = {"yanked_at": None, "quarantined_at": None}
    _change_standing(release, ReleaseEvent.What.RESTORED, by=by, reason=reason, fields=fields)


@transaction.atomic
def _change_standing(
    release: Release, what: ReleaseEvent.What, *, by: User | None, reason: str, fields: dict[str, Any]
) -> None:
    before = Release.objects.get(pk=release.pk).standing
    Release.objects.filter(pk=release.pk).update(reason=reason, **fields)
    release.refresh_from_db()
    ReleaseEvent.objects.create(release=release, what=what, by=by, reason=reason)
    decided = Decision.What(what.value)
    decisions.about_release(release, decided, before=before, after=release.standing, by=by, reason=reason)
    standing_changed.send(sender=Adapter, adapter=release.adapter)
    if release.status == Release.Status.READY:
        if "quarantined_at" in fields:  # older versions may not be served any more, or may again
            jobs.enqueue(JobKind.PROMOTE, library_id=release.library.pk)
        jobs.enqueue(JobKind.INDEX, library_id=release.library.pk)


def _check_library(library: Library) -> None:
    if library.status != Library.Status.READY:
        raise Conflict(
            f"the library {library.slug} is not ready for uploads: its base model is not inspected yet "
            f"(status {library.status})"
        )


def _check_sizes(files: Sequence[StagedFile], *, samples: Path | None, message: str) -> None:
    limits = settings.LIMITS
    size = sum(file.source.stat().st_size for file in files)
    if size > limits.adapter_bytes:
        raise TooLarge(f"The files have {size:,} bytes; an adapter may have {limits.adapter_bytes:,}.")
    if samples is not None and samples.stat().st_size > limits.samples_bytes:
        found = samples.stat().st_size
        raise TooLarge(f"The samples have {found:,} bytes; they may have {limits.samples_bytes:,}.")
    if len(message) > limits.message_length:
        raise Invalid(f"the message has {len(message)} characters; it may have {limits.message_length}")
