"""The audit trail of a library, read by everybody."""

from django.http import HttpRequest
from ninja import P, QueryEx, Router

from hub import schemas
from hub.accounts.visitors import AnyVisitor, visitor
from hub.decisions import queries
from hub.decisions.schemas import DecisionOut, DecisionsOut
from hub.library import queries as libraries

router = Router(tags=["libraries"], auth=AnyVisitor())
PAGE = 50
FURTHEST = 1_000_000


@router.get(
    "/libraries/{slug}/decisions",
    response={200: DecisionsOut, 404: schemas.Problem},
    operation_id="decisions",
)
def decisions(
    request: HttpRequest,
    slug: str,
    limit: QueryEx[int, P(ge=1, le=PAGE)] = PAGE,
    offset: QueryEx[int, P(ge=0, le=FURTHEST)] = 0,
) -> DecisionsOut:
    """Who promoted, rolled back, quarantined, withdrew or restored what, and why; the newest first."""
    found = queries.of_library(libraries.library(slug), visitor(request))
    items = [DecisionOut.of(one) for one in found[offset : offset + limit]]
    return DecisionsOut(items=items, count=found.count())
