"""Uploading file by file, each from where it broke off, and making a release of what came."""

from django.http import HttpRequest
from ninja import P, QueryEx, Router, Schema, Status
from pydantic import Field

from hub import schemas
from hub.accounts import roles
from hub.accounts.models import Scope
from hub.accounts.visitors import Bearer, author
from hub.adapters import pieces, services
from hub.errors import Invalid
from hub.library import queries as libraries

router = Router(tags=["uploads"], auth=Bearer(Scope.WRITE))
REFUSALS = dict.fromkeys((400, 401, 403, 404, 409, 413, 507), schemas.Problem)


SAMPLES = "the sample rows"
OCTETS, BYTES = "application/octet-stream", {"type": "string", "format": "binary"}


class PieceOut(Schema):
    """How much of a file is here."""

    sha256: str
    received: int
    complete: bool


class FileIn(Schema):
    path: str
    sha256: str


class AssembleIn(Schema):
    """A release of files whose bytes are here."""

    files: list[FileIn] = Field(max_length=10_000)
    samples: str | None = Field(None, description="sha256 of the rows, one JSON object a line")
    message: schemas.Text = ""
    private: bool = Field(default=False, description="seen and heard by you and whom you invite")
    owner: str = Field(default="", description="an organisation that you upload for; without one, you")


@router.get("/uploads/{sha256}", response={200: PieceOut, **REFUSALS}, operation_id="piece")
def piece(request: HttpRequest, sha256: str, owner: str = "") -> PieceOut:
    """How much of a file you have uploaded, also for an earlier release of yours, or of the organisation
    `owner` that you upload for.
    """
    here, complete = pieces.received(_piece(request, sha256, owner))
    return PieceOut(sha256=sha256, received=here, complete=complete)


@router.patch(
    "/uploads/{sha256}",
    response={200: PieceOut, **REFUSALS},
    operation_id="append",
    openapi_extra={"requestBody": {"required": True, "content": {OCTETS: {"schema": BYTES}}}},
)
def append(
    request: HttpRequest,
    sha256: str,
    offset: QueryEx[int, P(ge=0)],
    size: QueryEx[int, P(ge=0)],
    owner: str = "",
) -> PieceOut:
    """Add the bytes of the body to those that are here; `offset` is how many those are, `size` how many there
    will be, `owner` the organisation that you upload for, whose storage they count on. What came of a request
    that breaks off stays.
    """
    of = _piece(request, sha256, owner)
    here, complete = pieces.append(of, request, offset=offset, size=size)
    return PieceOut(sha256=sha256, received=here, complete=complete)


@router.post(
    "/libraries/{slug}/adapters/{name}/releases/assembled",
    response={202: schemas.ReleaseOut, **REFUSALS, 422: schemas.Problem},
    operation_id="assemble",
)
def assemble(request: HttpRequest, slug: str, name: str, body: AssembleIn) -> Status[schemas.ReleaseOut]:
    """Make a release of files that are here. The same files again give the release that is there."""
    library, who = libraries.library(slug), author(request)
    owner = roles.namespace(who, body.owner)
    tree = {file.path: file.sha256 for file in body.files}
    if len(tree) != len(body.files):
        raise Invalid("files: found a path twice, expected each once")
    rows = {} if body.samples is None else {SAMPLES: body.samples}
    with pieces.staged(who, tree, owner) as files, pieces.staged(who, rows, owner) as samples:
        release = services.receive_upload(
            owner=owner,
            by=who,
            library=library,
            name=name,
            files=files,
            samples=samples[0].source if samples else None,
            message=body.message,
            private=body.private,
        )
    return Status(202, schemas.ReleaseOut.of(release))


def _piece(request: HttpRequest, sha256: str, owner: str) -> pieces.Piece:
    """Raises NotAllowed, Invalid."""
    who = author(request)
    return pieces.piece(who, sha256, roles.namespace(who, owner))
