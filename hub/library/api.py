"""Libraries."""

from django.http import HttpRequest
from ninja import Router

from hub import schemas
from hub.accounts.models import Scope
from hub.accounts.visitors import AnyVisitor, reader
from hub.jobs import queries as jobs
from hub.library import queries

# Whoever may only ask models looks here where they answer.
router = Router(tags=["libraries"], auth=AnyVisitor(Scope.INFER))


@router.get("/libraries", response=list[schemas.LibraryOut], operation_id="libraries")
def libraries(request: HttpRequest) -> list[schemas.LibraryOut]:
    """All libraries."""
    asking = reader(request)
    return [schemas.LibraryOut.of(library, reader=asking) for library in queries.libraries()]


@router.get(
    "/libraries/{slug}", response={200: schemas.LibraryDetail, 404: schemas.Problem}, operation_id="library"
)
def library(request: HttpRequest, slug: str) -> schemas.LibraryDetail:
    """One library, with what was found in its base model and the newest jobs about it."""
    found = queries.library(slug)
    return schemas.LibraryDetail(
        **schemas.LibraryOut.of(found, reader=reader(request)).dict(),
        base_spec=found.base_spec,
        jobs=[schemas.JobOut.of(job) for job in jobs.about(library_id=found.pk).order_by("-pk")[:50]],
    )
