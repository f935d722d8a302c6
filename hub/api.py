"""The native JSON API under /api/v1: its assembly, and its one translation of errors."""

from http import HTTPStatus

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError

from hub import schemas
from hub.ablations.api import router as ablations
from hub.accounts.api import router as accounts
from hub.adapters.api import router as adapters
from hub.adapters.gates_api import router as gates
from hub.adapters.pieces_api import router as pieces
from hub.clusters.api import router as clusters
from hub.decisions.api import router as decisions
from hub.errors import HubError, Invalid, NotSignedIn
from hub.evaluations.api import router as evaluations
from hub.exports.api import router as exports
from hub.http import as_json
from hub.indexes.api import router as indexes
from hub.library.api import router as libraries
from hub.mirrors.api import router as mirrors
from hub.search.api import router as search
from hub.uses.api import router as uses

api = NinjaAPI(
    title="Fletch",
    version="1",
    description="Libraries of LoRA experts, their releases, index versions and composed checkpoints.",
    urls_namespace="api-v1",
    docs_url="/docs",
)
for part in (
    accounts,
    libraries,
    decisions,
    search,
    adapters,
    pieces,
    gates,
    indexes,
    clusters,
    mirrors,
    exports,
    evaluations,
    ablations,
    uses,
):
    api.add_router("", part)


@api.get("/limits", response=schemas.LimitsOut, tags=["hub"], operation_id="limits")
def limits(request: HttpRequest) -> schemas.LimitsOut:  # noqa: ARG001
    """What an upload may weigh."""
    return schemas.LimitsOut.of(settings.LIMITS)


@api.exception_handler(HubError)
def refused(request: HttpRequest, error: HubError) -> HttpResponse:  # noqa: ARG001
    return as_json(error)


@api.exception_handler(AuthenticationError)
def not_signed_in(request: HttpRequest, error: AuthenticationError) -> HttpResponse:  # noqa: ARG001
    return as_json(NotSignedIn())


@api.exception_handler(ValidationError)
def invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:  # noqa: ARG001
    """Every field that is wrong, in one sentence each."""
    sentences = [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors
    ]
    return as_json(Invalid("; ".join(sentences)))


@api.exception_handler(HttpError)
def malformed(request: HttpRequest, error: HttpError) -> HttpResponse:  # noqa: ARG001
    response = as_json(Invalid(str(error)))
    response.status_code = error.status_code or HTTPStatus.BAD_REQUEST
    return response
