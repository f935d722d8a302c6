"""Adapters of other hubs, brought into a library by its maintainer."""

from django.http import HttpRequest
from ninja import Router, Status

from hub import schemas
from hub.accounts.models import Scope
from hub.accounts.visitors import AnyVisitor, Bearer, author
from hub.library import permissions
from hub.library import queries as libraries
from hub.mirrors import queries, services
from hub.mirrors.schemas import FeedIn, FeedOut, FollowIn, MirrorIn, MirrorOut

router = Router(tags=["mirrors"], auth=AnyVisitor())
REFUSALS = dict.fromkeys((400, 401, 403, 404, 409), schemas.Problem)


@router.get(
    "/libraries/{slug}/mirrors",
    response={200: list[MirrorOut], 404: schemas.Problem},
    operation_id="mirrors",
)
def mirrors(request: HttpRequest, slug: str) -> list[MirrorOut]:  # noqa: ARG001
    """What comes from other hubs."""
    return [MirrorOut.of(mirror) for mirror in queries.mirrors(libraries.library(slug))]


@router.post(
    "/libraries/{slug}/mirrors",
    response={202: MirrorOut, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="mirror",
)
def mirror(request: HttpRequest, slug: str, body: MirrorIn) -> Status[MirrorOut]:
    """Bring a repository of another hub into the library, as its maintainer; asking again looks again."""
    library = libraries.library(slug)
    permissions.require_maintain(author(request), library)
    return Status(202, MirrorOut.of(services.mirror(library=library, by=author(request), **body.dict())))


@router.patch(
    "/libraries/{slug}/mirrors/{number}",
    response={200: MirrorOut, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="follow_mirror",
)
def follow(request: HttpRequest, slug: str, number: int, body: FollowIn) -> MirrorOut:
    """Look for new revisions, or no longer; what came stays."""
    library = libraries.library(slug)
    permissions.require_maintain(author(request), library)
    found = queries.mirror(library, number)
    services.follow(found, wanted=body.follow)
    return MirrorOut.of(found)


@router.get(
    "/libraries/{slug}/feeds", response={200: list[FeedOut], 404: schemas.Problem}, operation_id="feeds"
)
def feeds(request: HttpRequest, slug: str) -> list[FeedOut]:  # noqa: ARG001
    """Lists of other hubs that are followed."""
    return [FeedOut.of(feed) for feed in queries.feeds(libraries.library(slug))]


@router.post(
    "/libraries/{slug}/feeds",
    response={202: FeedOut, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="follow_list",
)
def follow_list(request: HttpRequest, slug: str, body: FeedIn) -> Status[FeedOut]:
    """Mirror every repository of another hub that has these tags, also those that come later."""
    library = libraries.library(slug)
    permissions.require_maintain(author(request), library)
    return Status(202, FeedOut.of(services.follow_list(library=library, by=author(request), **body.dict())))


@router.delete(
    "/libraries/{slug}/feeds/{number}",
    response={204: None, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="stop_list",
)
def stop_list(request: HttpRequest, slug: str, number: int) -> Status[None]:
    """Follow a list no longer; what it brought stays."""
    library = libraries.library(slug)
    permissions.require_maintain(author(request), library)
    services.stop(queries.feed(library, number))
    return Status(204, None)
