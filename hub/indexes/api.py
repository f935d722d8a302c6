"""Index versions, promotions and composed checkpoints."""

from django.http import HttpRequest
from ninja import P, QueryEx, Router, Status

from hub import schemas
from hub.accounts.models import Scope
from hub.accounts.visitors import AnyVisitor, Bearer, author, person
from hub.errors import NotFound
from hub.indexes import checkpoints, guests, passes, queries, services
from hub.indexes.models import ComposedCheckpoint
from hub.indexes.schemas import (
    ChangeOut,
    CheckpointIn,
    CheckpointOut,
    DiffOut,
    GuestsIn,
    GuestsOut,
    Member,
    PassIn,
    PassOut,
    PromoteIn,
    PromotionOut,
    VersionDetail,
    VersionOut,
    VersionsOut,
)
from hub.jobs import queries as jobs
from hub.library import permissions
from hub.library import queries as libraries
from hub.paging import FURTHEST, Limit, Offset, part

router = Router(tags=["index versions"], auth=AnyVisitor())
NOBODY_NAMED = GuestsIn()
HERE_ALONE = PassIn()
VERSIONS, MOST_VERSIONS = 100, 1_000
REFUSALS = dict.fromkeys((400, 401, 403, 404, 409), schemas.Problem)


@router.get(
    "/libraries/{slug}/versions",
    response={200: VersionsOut, 404: schemas.Problem},
    operation_id="versions",
)
def versions(
    request: HttpRequest,  # noqa: ARG001
    slug: str,
    limit: QueryEx[int, P(ge=1, le=MOST_VERSIONS)] = VERSIONS,
    offset: QueryEx[int, P(ge=0, le=FURTHEST)] = 0,
) -> VersionsOut:
    """The published index versions, newest first."""
    found = queries.published(libraries.library(slug)).select_related("library").order_by("-number")
    listed = found.defer("library__base_spec")[offset : offset + limit]
    return VersionsOut(items=[VersionOut.of(version) for version in listed], count=found.count())


@router.get(
    "/libraries/{slug}/versions/{number}",
    response={200: VersionDetail, 404: schemas.Problem},
    operation_id="version",
)
def version(
    request: HttpRequest,  # noqa: ARG001
    slug: str,
    number: int,
    limit: Limit = None,
    offset: Offset = 0,
) -> VersionDetail:
    """One index version: its experts in the manifest's order, all or some of `expert_count`, and how good its
    classifier of prompts is.
    """
    found = queries.version(libraries.library(slug), number)
    named = queries.named(found)[part(limit, offset)]
    members = [Member(adapter=one.adapter, release=one.oid, number=one.number) for one in named]
    learnt = queries.classifier_of(found)
    classifier = None if learnt is None else {"digest": learnt.digest, **learnt.report}
    return VersionDetail(**VersionOut.of(found).dict(), experts=members, classifier=classifier)


@router.get("/libraries/{slug}/diff", response={200: DiffOut, 404: schemas.Problem}, operation_id="diff")
def diff(
    request: HttpRequest,  # noqa: ARG001
    slug: str,
    old: QueryEx[int, P(alias="from")],
    new: QueryEx[int, P(alias="to")],
) -> DiffOut:
    """Who came, who went and who changed between two versions."""
    library = libraries.library(slug)
    found = queries.diff(queries.version(library, old), queries.version(library, new))
    return DiffOut(
        old=old,
        new=new,
        added=[Member.of(release) for release in found.added],
        removed=[Member.of(release) for release in found.removed],
        changed=[ChangeOut.of(before, after) for before, after in found.changed],
    )


@router.post(
    "/libraries/{slug}/promote",
    response={200: PromotionOut, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="promote",
)
def promote(request: HttpRequest, slug: str, body: PromoteIn) -> PromotionOut:
    """Serve this version; an older one is a rollback."""
    library, user = libraries.library(slug), author(request)
    permissions.require_maintain(user, library)
    promotion = services.promote(library=library, number=body.number, by=user, reason=body.reason)
    return PromotionOut.of(promotion)


@router.post(
    "/libraries/{slug}/private",
    response={200: GuestsOut, **REFUSALS},
    auth=AnyVisitor(Scope.INFER),
    operation_id="private_experts",
)
def private_experts(request: HttpRequest, slug: str, body: GuestsIn = NOBODY_NAMED) -> GuestsOut:
    """The private experts that you may ask this library's model with, your own and those you are invited to,
    as a list for the serving process: send its token as `X-Fletch-Private`. It is good for ten minutes.
    """
    user = person(request)
    return GuestsOut.of(
        guests.guest_list(user=user, library=libraries.library(slug), names=sorted(set(body.experts)))
    )


@router.post(
    "/libraries/{slug}/pass",
    response={200: PassOut, **REFUSALS},
    auth=AnyVisitor(Scope.INFER),
    operation_id="serving_pass",
)
def serving_pass(request: HttpRequest, slug: str, body: PassIn = HERE_ALONE) -> PassOut:
    """A pass for a serving process that answers only who brings one: send its token as `X-Fletch-Pass`, or as
    the API key of a client of OpenAI's. It is good for ten minutes.
    """
    user = person(request)
    library = libraries.library(slug)
    return PassOut.of(passes.issue(user=user, library=library, everywhere=body.everywhere))


@router.post(
    "/libraries/{slug}/checkpoints",
    response={202: CheckpointOut, **REFUSALS},
    auth=Bearer(Scope.WRITE),
    operation_id="compose",
)
def compose(request: HttpRequest, slug: str, body: CheckpointIn) -> Status[CheckpointOut]:
    """Ask for a composed checkpoint; follow its `status` until it is ready."""
    library = libraries.library(slug)
    wanted = queries.version(library, body.version) if body.version else library.current
    if wanted is None:
        raise NotFound(f"{library.slug} serves no version yet, so there is nothing to compose")
    options = body.model_dump(exclude={"kind", "version"}, exclude_none=True)
    user = author(request)
    found = checkpoints.request_checkpoint(version=wanted, kind=body.kind, requested_by=user, options=options)
    return Status(202, _described(found))


@router.get(
    "/checkpoints/{checkpoint_id}",
    response={200: CheckpointOut, 404: schemas.Problem},
    operation_id="checkpoint",
    url_name="checkpoint",
)
def checkpoint(request: HttpRequest, checkpoint_id: int) -> CheckpointOut:  # noqa: ARG001
    """A composed checkpoint: how far it is, its files, its digest and where to download it."""
    return _described(queries.checkpoint(checkpoint_id))


def _described(found: ComposedCheckpoint) -> CheckpointOut:
    return CheckpointOut.of(found, jobs=jobs.about(checkpoint_id=found.pk))
