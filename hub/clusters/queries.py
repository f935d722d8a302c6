"""Looking at clusters, neighbours and the adapters that were trained for clusters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from hub.adapters.models import Adapter, Release
from hub.clusters.models import Clustering, ClusterTraining, FixedCount, Placement, SharedSamples
from hub.errors import NotFound
from hub.indexes import queries as indexes
from hub.indexes.models import IndexVersion
from hub.library.models import Library


@dataclass(frozen=True)
class Neighbour:
    """Another expert of the same version, and the cosine of the two updates."""

    adapter: Adapter
    cosine: float


class Place(NamedTuple):
    """Where an expert lies on the map, and what it is called."""

    cluster: int
    adapter: str
    release_id: int
    oid: str
    x: float
    y: float


def newest_published(library_id: int) -> IndexVersion | None:
    """The newest version that is in the index store."""
    library = Library.objects.get(pk=library_id)
    return indexes.published(library).select_related("library").order_by("-number").first()


def newest_clustering(library_id: int) -> Clustering | None:
    """What was found last about a library."""
    found = Clustering.objects.filter(version__library=library_id).select_related("version__library")
    return found.order_by("-version__number").first()


def clustering(library: Library) -> Clustering:
    """The same; NotFound if there is none yet."""
    found = newest_clustering(library.pk)
    if found is None:
        raise NotFound(f"{library.slug} is not clustered yet; that follows each version that is published")
    return found


def wanted_count(library_id: int) -> int | None:
    """How many clusters a maintainer asked for; None: as many as are clear."""
    return FixedCount.objects.filter(library=library_id).values_list("count", flat=True).first()


def placements(found: Clustering) -> list[Placement]:
    """All experts with their places, by cluster and name."""
    rows = found.placements.select_related("release__adapter__owner", "release__commit").defer(
        "release__statistics", "release__fingerprint", "release__findings"
    )
    return sorted(rows, key=lambda row: (row.cluster, row.release.adapter.full_name))


def places(found: Clustering) -> list[Place]:
    """The same by names alone, where there are thousands to be told."""
    rows = found.placements.values_list(
        *("cluster", "release__adapter__owner__username", "release__adapter__name"),
        *("release", "release__commit__oid", "x", "y"),
    )
    return sorted(Place(cluster, f"{owner}/{name}", *rest) for cluster, owner, name, *rest in rows)


def groups(found: Clustering) -> dict[int, list[Release]]:
    """The experts of each cluster, by its number."""
    grouped: dict[int, list[Release]] = {}
    for row in placements(found):
        grouped.setdefault(row.cluster, []).append(row.release)
    return grouped


def sharing(members: Iterable[Release]) -> set[int]:
    """Which of these releases (ids) have sample rows that may be pooled."""
    shared = SharedSamples.objects.filter(release__in=[release.pk for release in members])
    return set(shared.exclude(release__samples=None).values_list("release_id", flat=True))


def placement_of(release: Release) -> Placement | None:
    """Where a release is in the newest clustering of its library."""
    found = newest_clustering(release.library.pk)
    return None if found is None else found.placements.filter(release=release).first()


def companions(placement: Placement, most: int) -> list[Adapter]:
    """The other experts of its cluster, by name, at most so many."""
    same = placement.clustering.placements.filter(cluster=placement.cluster).exclude(pk=placement.pk)
    known = Adapter.objects.filter(releases__in=same.values("release"))
    shown = known.select_related("owner").only("name", "owner__username")
    return list(shown.order_by("owner__username", "name")[:most])


def neighbours(placement: Placement) -> list[Neighbour]:
    """Its nearest neighbours, the most alike first."""
    return named([(int(release_id), cosine) for release_id, cosine in placement.neighbours])


def named(pairs: Sequence[tuple[int, float]]) -> list[Neighbour]:
    """Pairs of release id and cosine with the adapters they mean."""
    releases = Release.objects.filter(pk__in=[release_id for release_id, _ in pairs])
    shown = releases.select_related("adapter__owner").only("adapter__name", "adapter__owner__username")
    adapters = {release.pk: release.adapter for release in shown}
    return [Neighbour(adapters[release_id], cosine) for release_id, cosine in pairs if release_id in adapters]


def trainings(library: Library) -> list[ClusterTraining]:
    """Every adapter that was asked for, for clusters of any version of a library."""
    rows = ClusterTraining.objects.filter(version__library=library).select_related(
        "version", "library", "owner", "release__adapter__owner", "release__commit"
    )
    return list(rows)
