"""Asking for clusters and for one adapter per cluster, and recording what workers found and trained."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models.functions import Now

from hub.accounts.models import User
from hub.adapters.finite import finite
from hub.adapters.models import Release
from hub.clusters import queries
from hub.clusters.models import Clustering, ClusterTraining, FixedCount, Placement, SharedSamples
from hub.errors import Conflict, Invalid
from hub.indexes.models import IndexVersion
from hub.jobs import claims
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.jobs.models import Job, JobKind
from hub.library import services as libraries
from hub.library.models import Library


@dataclass(frozen=True)
class Placed:
    """One expert as a worker placed it; neighbours are (release id, cosine)."""

    release_id: int
    cluster: int
    x: float
    y: float
    neighbours: Sequence[tuple[int, float]]


@dataclass(frozen=True)
class Course:
    """How the training of a cluster's adapter went."""

    rows: int = 0
    curve: Sequence[tuple[int, float, float]] = ()
    seconds: float = 0.0
    peak_bytes: int = 0


@transaction.atomic
def ask_for_clusters(*, library: Library, count: int | None = None) -> Job:
    """Cluster the newest published version, now and from now on into `count` clusters; None: as many as are
    clear. Raises Invalid, Conflict.
    """
    if count is not None and count < 1:
        raise Invalid(f"count: found {count}, expected at least 1")
    if queries.newest_published(library.pk) is None:
        raise Conflict(f"{library.slug} has no published version yet, so there is nothing to cluster")
    if count is None:
        FixedCount.objects.filter(library=library).delete()
    else:
        FixedCount.objects.update_or_create(library=library, defaults={"count": count})
    return jobs.enqueue(JobKind.CLUSTER, library_id=library.pk)


@transaction.atomic
def record_clusters(  # noqa: PLR0913  what the worker found
    claim: Claim,
    version_id: int,
    placed: Sequence[Placed],
    *,
    count: int,
    silhouette: float,
    copies: Sequence[Sequence[int]],
    matrix: str,
    seconds: float,
) -> Clustering:
    """Keep what was found about a version in place of what was known of it. Raises Fenced.

    Places of experts in older versions that are not served are let go: they can be computed again.
    """
    claims.hold(claim)
    version = IndexVersion.objects.select_related("library").get(pk=version_id)
    clustering, _ = Clustering.objects.update_or_create(
        version=version,
        defaults={
            "count": count,
            "silhouette": silhouette,
            "copies": [list(group) for group in copies],
            "matrix": matrix,
            "seconds": seconds,
        },
    )
    kept = {clustering.version_id, version.library.current_id}
    Clustering.objects.filter(version__library=version.library).exclude(version__in=kept - {None}).delete()
    clustering.placements.all().delete()
    Placement.objects.bulk_create(
        Placement(
            clustering=clustering,
            release_id=one.release_id,
            cluster=one.cluster,
            x=one.x,
            y=one.y,
            neighbours=[list(pair) for pair in one.neighbours],
        )
        for one in placed
    )
    return clustering


@transaction.atomic
def share_samples(*, release: Release, by: User, shared: bool) -> None:
    """Agree, or no longer, that its sample rows are pooled with others' to train a cluster's adapter.

    What was trained before stays. Raises Invalid when there are no rows.
    """
    if shared and not release.samples_id:
        raise Invalid(f"{release} has no sample rows to share")
    if shared:
        SharedSamples.objects.get_or_create(release=release, defaults={"by": by})
    else:
        SharedSamples.objects.filter(release=release).delete()


@transaction.atomic
def ask_for_adapters(*, library: Library, by: User) -> list[ClusterTraining]:
    """Ask for one adapter per cluster of the newest clustering, owned by `by`, in a library of their own.

    Clusters none of whose members share their rows are left out. Asking again asks for what is missing.
    Raises Conflict.
    """
    locked = Library.objects.select_for_update(no_key=True).get(pk=library.pk)
    clustering = queries.newest_clustering(locked.pk)
    if clustering is None:
        raise Conflict(f"{locked.slug} is not clustered yet")
    groups = queries.groups(clustering)
    if not any(queries.sharing(group) for group in groups.values()):
        raise Conflict(f"no member of any cluster of {clustering.version} shares its sample rows")
    target = _sibling(locked, by)
    return [
        _asked(clustering.version, number, group, target, by)
        for number, group in groups.items()
        if queries.sharing(group)
    ]


def _asked(
    version: IndexVersion, number: int, group: Sequence[Release], target: Library, by: User
) -> ClusterTraining:
    training, new = ClusterTraining.objects.get_or_create(
        version=version, cluster=number, defaults={"library": target, "owner": by}
    )
    if new:
        training.members.set(group)
    elif {release.pk for release in group} != set(training.members.values_list("pk", flat=True)):
        raise Conflict(f"{training} has been trained for other members; adapters are made once per version")
    if training.release_id is None:
        ClusterTraining.objects.filter(pk=training.pk).update(settled_at=None, note="")
        training.refresh_from_db()
        jobs.enqueue(JobKind.TRAIN_CLUSTER, training_id=training.pk)
    return training


def _sibling(library: Library, maintainer: User) -> Library:
    """The library of the clusters' adapters: on the same base, beside the one that was clustered."""
    slug = f"{library.slug}-mbc"
    found = Library.objects.filter(slug=slug).first()
    if found is None:
        return libraries.create_beside(
            library, slug=slug, name=f"{library.name}: one adapter per cluster", maintainer=maintainer
        )
    if found.base_digest != library.base_digest:
        raise Conflict(f"the library {slug} is on another base than {library.slug}")
    return found


@transaction.atomic
def record_training(
    claim: Claim, training_id: int, *, release: Release | None, note: str = "", course: Course | None = None
) -> bool:
    """The cluster's adapter is uploaded, or there is none and `note` says why. False when it was recorded
    before. Raises Fenced.
    """
    claims.hold(claim)
    how = course or Course()
    waiting = ClusterTraining.objects.filter(pk=training_id, settled_at=None)
    return bool(
        waiting.update(
            release=release,
            note=note,
            rows=how.rows,
            curve=finite([list(point) for point in how.curve]),
            seconds=how.seconds,
            peak_bytes=how.peak_bytes,
            settled_at=Now(),
        )
    )
