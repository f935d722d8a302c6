"""Planning, publishing and promoting index versions.

Numbers are 1, 2, 3, ... without a gap: each step holds a lock on the library's row.
"""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Sum
from django.db.models.functions import Coalesce, Now

from hub import faults
from hub.accounts.models import User
from hub.decisions import services as decisions
from hub.errors import Conflict
from hub.indexes import queries
from hub.indexes.models import IndexMember, IndexVersion, Membership, Promotion, PromptClassifier
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import JobKind
from hub.library.models import Library


@transaction.atomic
def plan_version(claim: Claim, library_id: int) -> IndexVersion | None:
    """Freeze who is in the next version. None when nothing changed since the newest one. Raises Fenced.

    A version that was planned but not published, because a worker died between, is returned again as it was.
    """
    library = _locked(library_id)
    claims.hold(claim)
    last = queries.newest(library)
    if last is not None and last.status == IndexVersion.Status.PLANNED:
        return last
    if not _differs(library, last):
        return None
    version = _plan(library, number=last.number + 1 if last else 1)
    faults.reach("publish.version_inserted")
    return version


@transaction.atomic
def record_classifier(
    claim: Claim,
    version_id: int,
    *,
    digest: str,
    size: int,
    report: Mapping[str, Any],
    reliability: Mapping[str, Any] | None = None,
) -> PromptClassifier:
    """What was trained for a planned version, before its manifest names it: the first that was recorded, so
    that a worker that begins again writes the same manifest. Raises Fenced.
    """
    claims.hold(claim)
    measured = {"report": dict(report), "reliability": reliability and dict(reliability)}
    found, _new = PromptClassifier.objects.get_or_create(
        version_id=version_id, defaults={"digest": digest, "size": size, **measured}
    )
    return found


@transaction.atomic
def record_published(claim: Claim, version_id: int, manifest: str, size: int) -> bool:
    """The planned version is in the index store: record its digest, and serve it where the library says so.

    False when it was recorded before. Raises Fenced, Conflict.
    """
    version = IndexVersion.objects.select_related("library").get(pk=version_id)
    library = _locked(version.library_id)
    claims.hold(claim)
    planned = IndexVersion.objects.filter(pk=version_id, status=IndexVersion.Status.PLANNED)
    if not planned.update(
        status=IndexVersion.Status.PUBLISHED, manifest=manifest, size=size, published_at=Now()
    ):
        version.refresh_from_db()
        if version.manifest != manifest:
            raise Conflict(f"{version} is published with manifest {version.manifest}, not {manifest}")
        return False
    version.refresh_from_db()
    if _should_serve(library, version):
        _promote(library, version, by=None, reason="published")
    jobs.enqueue(JobKind.CLUSTER, wait=settings.CLUSTER_AFTER, library_id=library.pk)
    if _differs(library, version):  # somebody became ready, or was withdrawn, while this one was being built
        jobs.enqueue(JobKind.INDEX, library_id=library.pk)
    faults.reach("publish.recorded")
    return True


@transaction.atomic
def promote(*, library: Library, number: int, by: User | None, reason: str = "") -> Promotion:
    """Make a published version the served one; an older one is a rollback. Raises NotFound, Conflict."""
    locked = _locked(library.pk)
    version = queries.version(locked, number)
    held = list(queries.held_back(version).select_related("adapter__owner")[:3])
    if held:
        names = ", ".join(release.adapter.full_name for release in held)
        raise Conflict(f"{version} cannot be served: it names experts that are in quarantine ({names})")
    promotion = _promote(locked, version, by=by, reason=reason)
    library.current = version
    return promotion


def roll_back(*, library: Library, by: User | None, reason: str = "") -> Promotion:
    """Promote the newest servable version below the served one. Raises Conflict."""
    current = Library.objects.select_related("current").get(pk=library.pk).current
    if current is None:
        raise Conflict(f"{library.slug} serves no version, so there is nothing to roll back")
    for version in queries.published(library).filter(number__lt=current.number).order_by("-number"):
        if not queries.held_back(version).exists():
            return promote(library=library, number=version.number, by=by, reason=reason)
    raise Conflict(f"{library.slug} has no servable version below {current.number}")


def _locked(library_id: int) -> Library:
    return Library.objects.select_for_update(no_key=True).get(pk=library_id)


def _plan(library: Library, *, number: int) -> IndexVersion:
    """Write only what changes: memberships that end here, and those that begin."""
    desired, remaining = queries.desired_members(library), _remaining(library)
    leaving = {member.release_id for member in remaining - desired}
    queries.open_members(library).filter(release_id__in=leaving).update(until=number)
    IndexMember.objects.bulk_create(
        IndexMember(library=library, since=number, **member._asdict())
        for member in sorted(desired - remaining, key=lambda member: member.release_id)
    )
    return IndexVersion.objects.create(
        library=library,
        number=number,
        policy=library.policy,
        encoder=library.encoder,
        base_digest=library.base_digest,
        expert_count=len(desired),
    )


def _differs(library: Library, last: IndexVersion | None) -> bool:
    """Would the next version be another one than `last`?"""
    if last is None:
        return queries.desired(library).exists()
    served = (library.policy, library.encoder, library.base_digest)
    if (last.policy, last.encoder, last.base_digest) != served:
        return True
    return queries.desired_members(library) != _remaining(library)


def _remaining(library: Library) -> set[Membership]:
    """Everybody who is a member of the newest version."""
    return {Membership(*row) for row in queries.open_members(library).values_list(*Membership._fields)}


def _should_serve(library: Library, version: IndexVersion) -> bool:
    """Never what holds a quarantined expert; always instead of such a one; else as the library says.

    Somebody who rolled back wants to stay there until they promote a newer version themselves.
    """
    if queries.held_back(version).exists():
        return False
    if library.current is None:
        return library.auto_promote
    if queries.held_back(library.current).exists():
        return True
    highest = library.promotions.aggregate(highest=Max("version__number"))["highest"] or 0
    return library.auto_promote and library.current.number >= highest


def _promote(library: Library, version: IndexVersion, *, by: User | None, reason: str) -> Promotion:
    before = library.current.number if library.current else None
    Library.objects.filter(pk=library.pk).update(current=version)
    decisions.about_serving(library, before=before, after=version.number, by=by, reason=reason)
    promotion = Promotion.objects.create(library=library, version=version, by=by, reason=reason)
    jobs.enqueue(JobKind.PROMOTE, library_id=library.pk)
    return promotion


def total_size(version: IndexVersion) -> int:
    """Bytes of all vectors, factors and profiles that a version names."""
    vectors = Coalesce("gates__vectors_size", "release__vectors_size")
    whole = version.memberships().aggregate(
        size=Sum(vectors + F("release__factors_size") + F("profile_size"))
    )
    return whole["size"] or 0
