"""CLUSTER: find out which experts of a library's newest version are alike, taking over what is known."""

import time

from hub.clusters import queries, services
from hub.clusters.services import Placed
from hub.faults import reach
from hub.indexes import queries as indexes
from hub.indexes.models import IndexVersion
from hub.jobs import services as jobs
from hub.jobs.claims import Claim
from hub.library.models import Library
from routing.clustering import Clusters, cluster
from routing.expert_map import placed
from routing.factors import Factors
from routing.index import ExpertEntry
from routing.similarity import (
    NONE,
    Similarity,
    duplicates,
    extended,
    neighbours,
    read_similarity,
    similarity_bytes,
)
from workers.indexing import entry
from workers.places import base_layers, index_store
from workers.progress import reporter

NEIGHBOURS = 10


def find(claim: Claim) -> None:
    reach("clusters.claimed")
    library_id = claim.ids["library_id"]
    version = queries.newest_published(library_id)
    if version is None:
        jobs.log(claim, "nothing to do: no version is published")
        return
    began = time.monotonic()
    members = {_name(entry(member.release)): member for member in indexes.members(version)}
    entries = {name: entry(member.release) for name, member in members.items()}
    found = compared(claim, library_id, entries)
    wanted = queries.wanted_count(library_id)
    groups = cluster(found, count=None if wanted is None else min(wanted, len(members)))
    matrix = index_store().objects.put(similarity_bytes(found))
    reach("clusters.stored")
    releases = {name: member.release_id for name, member in members.items()}
    services.record_clusters(
        claim,
        version.pk,
        _placed(found, groups, releases, before=_map_before(library_id)),
        count=len(groups.groups),
        silhouette=groups.silhouette,
        copies=[[releases[name] for name in group] for group in duplicates(found)],
        matrix=matrix,
        seconds=time.monotonic() - began,
    )
    reach("clusters.recorded")
    jobs.log(claim, _summary(version, groups))


def compared(claim: Claim, library_id: int, entries: dict[str, ExpertEntry]) -> Similarity:
    """All cosines; pairs of experts that were compared for an earlier version are not compared again."""
    last, store, report = queries.newest_clustering(library_id), index_store(), reporter(claim)
    known = read_similarity(store.objects.read(last.matrix)) if last else NONE

    def read(name: str) -> dict[str, Factors]:
        return store.read_factors(entries[name])

    return extended(
        known,
        list(entries),
        read,
        layers=base_layers(Library.objects.get(pk=library_id)),
        progress=lambda done, total: report(done, total, f"compared {done} of {total} pairs"),
    )


def _map_before(library_id: int) -> dict[str, tuple[float, float]]:
    last = queries.newest_clustering(library_id)
    rows = queries.placements(last) if last else []
    return {_name(entry(row.release)): (row.x, row.y) for row in rows}


def _placed(
    found: Similarity, groups: Clusters, releases: dict[str, int], *, before: dict[str, tuple[float, float]]
) -> list[Placed]:
    places, near = placed(found, before), neighbours(found, NEIGHBOURS)
    numbers = {name: number for number, group in enumerate(groups.groups) for name in group}
    return [
        Placed(
            release_id=releases[name],
            cluster=numbers[name],
            x=places[name][0],
            y=places[name][1],
            neighbours=[(releases[one.name], round(one.cosine, 6)) for one in near[name]],
        )
        for name in found.names
    ]


def _name(expert: ExpertEntry) -> str:
    """A release by a name that sorts by adapter and never means another one."""
    return f"{expert.adapter}@{expert.release}"


def _summary(version: IndexVersion, groups: Clusters) -> str:
    return f"{version}: {len(groups.groups)} clusters, silhouette {groups.silhouette:.3f}"
