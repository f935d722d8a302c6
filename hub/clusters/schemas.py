"""What the JSON API says of clusters."""

from typing import Self

from ninja import Schema
from pydantic import Field

from hub.clusters import queries
from hub.clusters.models import Clustering, ClusterTraining
from hub.schemas import Row


class PlaceOut(Row):
    """An expert on the map."""

    adapter: str
    release: str
    cluster: int
    x: float
    y: float


class ClusteringOut(Schema):
    """The clusters of an index version; `copies` are groups of experts that are the same again. `experts`
    says how many there are; where a part of them was asked for, `map` and `clusters` hold that, and `copies`
    the groups that have one of them.
    """

    version: int
    count: int
    experts: int
    silhouette: float
    clusters: dict[int, list[str]]
    copies: list[list[str]]
    map: list[PlaceOut]

    @classmethod
    def of(cls, found: Clustering, part: slice) -> Self:
        """Without rows of releases: there are as many as experts in a version."""
        every = queries.places(found)
        names = {row.release_id: row.adapter for row in every}
        rows = every[part]
        said = {row.release_id for row in rows}
        clusters: dict[int, list[str]] = {}
        for row in rows:
            clusters.setdefault(row.cluster, []).append(row.adapter)
        return cls(
            version=found.version.number,
            count=found.count,
            experts=len(every),
            silhouette=found.silhouette,
            clusters=clusters,
            copies=[
                [names[one] for one in group if one in names]
                for group in found.copies
                if not said.isdisjoint(group)
            ],
            map=[
                PlaceOut(adapter=row.adapter, release=row.oid, cluster=row.cluster, x=row.x, y=row.y)
                for row in rows
            ],
        )


class NeighbourOut(Schema):
    adapter: str
    cosine: float


class CountIn(Schema):
    """How many clusters; none: as many as are clear."""

    count: int | None = Field(default=None, ge=1)


class SharingIn(Schema):
    shared: bool


class SharingOut(Schema):
    shared: bool


class TrainingOut(Schema):
    """The adapter of a cluster: asked for, then uploaded, or a note that says why there is none."""

    version: int
    cluster: int
    library: str
    adapter: str
    members: list[str]
    release: str | None
    note: str
    rows: int
    seconds: float
    settled: bool

    @classmethod
    def of(cls, row: ClusterTraining) -> Self:
        members = row.members.select_related("adapter__owner")
        return cls(
            version=row.version.number,
            cluster=row.cluster,
            library=row.library.slug,
            adapter=f"{row.owner.username}/{row.adapter_name}",
            members=sorted(release.adapter.full_name for release in members),
            release=row.release.oid if row.release else None,
            note=row.note,
            rows=row.rows,
            seconds=row.seconds,
            settled=row.settled_at is not None,
        )
