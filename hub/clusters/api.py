"""Clusters, neighbours, and one adapter per cluster."""

from django.http import HttpRequest
from ninja import Router, Status

from hub import schemas
from hub.accounts.models import Scope
from hub.accounts.visitors import AnyVisitor, Bearer, author, reader
from hub.adapters import permissions as adapter_permissions
from hub.adapters import queries as adapters
from hub.clusters import queries, services
from hub.clusters.schemas import ClusteringOut, CountIn, NeighbourOut, SharingIn, SharingOut, TrainingOut
from hub.errors import NotFound
from hub.library import permissions
from hub.library import queries as libraries
from hub.paging import Limit, Offset, part

router = Router(tags=["clusters"], auth=AnyVisitor())
REFUSALS = dict.fromkeys((400, 401, 403, 404, 409), schemas.Problem)


@router.get(
    "/libraries/{slug}/clusters",
    response={200: ClusteringOut, 404: schemas.Problem},
    operation_id="clusters",
)
def clusters(
    request: HttpRequest,  # noqa: ARG001
    slug: str,
    limit: Limit = None,
    offset: Offset = 0,
) -> ClusteringOut:
    """The experts of the newest clustered version: groups, copies and a map; all, or a part of the map."""
    return ClusteringOut.of(queries.clustering(libraries.library(slug)), part(limit, offset))


@router.post(
    "/libraries/{slug}/clusters",
    response={202: schemas.JobOut, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="cluster",
)
def cluster(request: HttpRequest, slug: str, body: CountIn) -> Status[schemas.JobOut]:
    """Cluster the newest version anew, as a maintainer: now and later into this many clusters."""
    library = libraries.library(slug)
    permissions.require_maintain(author(request), library)
    return Status(202, schemas.JobOut.of(services.ask_for_clusters(library=library, count=body.count)))


@router.get(
    "/libraries/{slug}/neighbours/{owner}/{name}",
    response={200: list[NeighbourOut], 404: schemas.Problem},
    operation_id="neighbours",
)
def neighbours(request: HttpRequest, slug: str, owner: str, name: str) -> list[NeighbourOut]:
    """The experts whose updates are most like this one's, with exact cosines."""
    adapter = adapters.adapter(reader(request), owner, name)
    found = queries.clustering(libraries.library(slug))
    placement = found.placements.filter(release__adapter=adapter).first()
    if placement is None:
        raise NotFound(f"{adapter.full_name} is no expert of {found.version}")
    return [
        NeighbourOut(adapter=one.adapter.full_name, cosine=one.cosine)
        for one in queries.neighbours(placement)
    ]


@router.get(
    "/libraries/{slug}/cluster-adapters",
    response={200: list[TrainingOut], 404: schemas.Problem},
    operation_id="cluster_adapters",
)
def cluster_adapters(request: HttpRequest, slug: str) -> list[TrainingOut]:  # noqa: ARG001
    """The adapters that were asked for, one per cluster, and what became of them."""
    return [TrainingOut.of(row) for row in queries.trainings(libraries.library(slug))]


@router.post(
    "/libraries/{slug}/cluster-adapters",
    response={202: list[TrainingOut], **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="train_clusters",
)
def train_clusters(request: HttpRequest, slug: str) -> Status[list[TrainingOut]]:
    """Train one adapter per cluster on the rows that its members share, as a maintainer."""
    user, library = author(request), libraries.library(slug)
    permissions.require_maintain(user, library)
    asked = services.ask_for_adapters(library=library, by=user)
    return Status(202, [TrainingOut.of(row) for row in asked])


@router.post(
    "/adapters/{owner}/{name}/releases/{revision}/sharing",
    response={200: SharingOut, **REFUSALS},
    auth=Bearer(Scope.WRITE),
    operation_id="share_samples",
)
def share_samples(request: HttpRequest, owner: str, name: str, revision: str, body: SharingIn) -> SharingOut:
    """Agree, or no longer, that your sample rows are pooled to train an adapter for their cluster."""
    user = author(request)
    found = adapters.release(adapters.adapter(user, owner, name), revision)
    adapter_permissions.require_write(user, found.adapter)
    services.share_samples(release=found, by=user, shared=body.shared)
    return SharingOut(shared=body.shared)
