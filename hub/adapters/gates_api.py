"""Gates and the rows that they are trained on: what is there, and who may decide about it."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Self, cast

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import HttpRequest
from ninja import FileEx, P, Router, Schema, Status, UploadedFile

from hub import schemas
from hub.accounts.models import Scope, User
from hub.accounts.visitors import AnyVisitor, Bearer, author, reader
from hub.adapters import gates, permissions, queries, uploading
from hub.adapters.models import Gates
from hub.library import permissions as library_permissions
from hub.library import queries as libraries
from hub.library import rows
from hub.library.models import CollectorRows

router = Router(tags=["gates"], auth=AnyVisitor())
REFUSALS = dict.fromkeys((400, 401, 403, 404), schemas.Problem)
RELEASE = "/adapters/{owner}/{name}/releases/{revision}"


class GatesOut(Schema):
    """Gates of a release: whose rows they learnt from, what came of it, and whether they are used.

    `curve` holds [step, training loss, held-out loss] in nats per token; of brought gates it is a claim.
    """

    number: int
    source: str
    standing: str
    findings: list[schemas.Finding]
    rows: int
    curve: list[tuple[int, float | None, float | None]]
    best_step: int
    seconds: float
    peak_bytes: int
    created_at: datetime
    in_use: bool

    @classmethod
    def of(cls, found: Gates, *, in_use: bool) -> Self:
        return cls(
            number=found.number,
            source=found.source,
            standing=found.standing,
            findings=found.findings,
            rows=found.rows,
            curve=found.curve,
            best_step=found.best_step,
            seconds=found.seconds,
            peak_bytes=found.peak_bytes,
            created_at=found.created_at,
            in_use=in_use,
        )


class RowsOut(Schema):
    """The collector's rows of a library: how many and which, never what they say."""

    library: str
    lines: int
    sha256: str
    created_at: datetime
    asked: int

    @classmethod
    def of(cls, found: CollectorRows, *, asked: int = 0) -> Self:
        return cls(
            library=found.library.slug,
            lines=found.lines,
            sha256=found.sha256,
            created_at=found.created_at,
            asked=asked,
        )


@router.get(
    f"{RELEASE}/gates", response={200: list[GatesOut], 404: schemas.Problem}, operation_id="release_gates"
)
def release_gates(request: HttpRequest, owner: str, name: str, revision: str) -> list[GatesOut]:
    """All gates of a release, newest first, those held back with the reason."""
    found = queries.release(queries.adapter(reader(request), owner, name), revision)
    used = gates.in_use(found)
    return [GatesOut.of(one, in_use=one == used) for one in found.gates.order_by("-number")]


@router.post(
    f"{RELEASE}/gates/{{number}}/let-in",
    response={200: GatesOut, **REFUSALS, 409: schemas.Problem},
    auth=Bearer(Scope.ADMIN),
    operation_id="let_gates_in",
)
def let_in(
    request: HttpRequest, owner: str, name: str, revision: str, number: int, body: schemas.Reason
) -> GatesOut:
    """Use gates that were held back, as a maintainer of the library."""
    found = _to_be_decided(request, owner, name, revision, number=number)
    return _decided(found, gates.let_in, by=author(request), reason=body.reason)


@router.post(
    f"{RELEASE}/gates/{{number}}/refuse",
    response={200: GatesOut, **REFUSALS, 409: schemas.Problem},
    auth=Bearer(Scope.ADMIN),
    operation_id="refuse_gates",
)
def refuse(
    request: HttpRequest, owner: str, name: str, revision: str, number: int, body: schemas.Reason
) -> GatesOut:
    """Leave gates out of every version to come, as a maintainer of the library."""
    found = _to_be_decided(request, owner, name, revision, number=number)
    return _decided(found, gates.refuse, by=author(request), reason=body.reason)


@router.delete(
    f"{RELEASE}/samples",
    response={204: None, **REFUSALS},
    auth=Bearer(Scope.WRITE),
    operation_id="delete_samples",
)
def delete_samples(request: HttpRequest, owner: str, name: str, revision: str) -> Status[None]:
    """Forget the sample rows of a release of yours. Gates that learnt from them stay."""
    user = author(request)
    found = queries.release(queries.adapter(user, owner, name), revision)
    permissions.require_write(user, found.adapter)
    gates.delete_samples(release=found, by=user)
    return Status(204, None)


@router.post(
    "/libraries/{slug}/rows",
    response={200: RowsOut, **REFUSALS, 413: schemas.Problem, 507: schemas.Problem},
    auth=Bearer(Scope.ADMIN),
    operation_id="give_rows",
)
def give_rows(
    request: HttpRequest,
    slug: str,
    file: FileEx[UploadedFile, P(alias="rows", description="rows, one JSON object a line")],
) -> RowsOut:
    """Give a library the rows on which the gates of all its experts are trained; they take the place of
    those before them.
    """
    library = libraries.library(slug)
    library_permissions.require_maintain(author(request), library)
    uploading.refuse_if_stopped(request)
    path = Path(cast("TemporaryUploadedFile", file).temporary_file_path())
    kept = rows.keep(library=library, file=path, by=author(request))
    return RowsOut.of(kept, asked=gates.ask_for_all(library))


@router.get(
    "/libraries/{slug}/rows",
    response={200: RowsOut, 204: None, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="rows",
)
def given_rows(request: HttpRequest, slug: str) -> Status[RowsOut] | Status[None]:
    """How many rows a library has, and their digest."""
    library = libraries.library(slug)
    library_permissions.require_maintain(author(request), library)
    kept = rows.current(library)
    return Status(204, None) if kept is None else Status(200, RowsOut.of(kept))


@router.delete(
    "/libraries/{slug}/rows",
    response={204: None, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="delete_rows",
)
def delete_rows(request: HttpRequest, slug: str) -> Status[None]:
    """Forget the rows of a library. Gates that learnt from them stay."""
    library = libraries.library(slug)
    library_permissions.require_maintain(author(request), library)
    rows.delete(library=library)
    return Status(204, None)


def _to_be_decided(request: HttpRequest, owner: str, name: str, revision: str, *, number: int) -> Gates:
    user = author(request)
    found = queries.release(queries.adapter(user, owner, name), revision)
    permissions.require_maintain(user, found.adapter)
    return gates.numbered(found, number)


def _decided(found: Gates, decide: Callable[..., None], *, by: User, reason: str) -> GatesOut:
    decide(gates=found, by=by, reason=reason)
    return GatesOut.of(found, in_use=gates.in_use(found.release) == found)
