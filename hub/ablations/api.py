"""What each expert contributes: asked for and stopped by maintainers, read by everybody."""

from pathlib import Path
from typing import cast

from django.core.files.uploadedfile import TemporaryUploadedFile
from django.http import HttpRequest
from ninja import FileEx, FormEx, P, Router, Schema, Status, UploadedFile

from hub import schemas
from hub.ablations import queries, services
from hub.ablations.models import NAME, Ablation
from hub.ablations.schemas import AblationDetail, AblationOut
from hub.accounts.models import Scope, User
from hub.accounts.visitors import AnyVisitor, Bearer, author, reader
from hub.adapters import uploading
from hub.errors import Conflict
from hub.indexes import queries as indexes
from hub.jobs import queries as jobs
from hub.library import permissions
from hub.library import queries as libraries
from hub.library.permissions import Visitor
from hub.paging import Limit, Offset, part

router = Router(tags=["ablations"], auth=AnyVisitor())
OF_VERSION = "/libraries/{slug}/versions/{number}/ablations"
ONE = "/ablations/{ablation_id}"
NONE = {404: schemas.Problem}
ALL = part(None, 0)
REFUSALS = dict.fromkeys((400, 401, 403, 404, 409), schemas.Problem)
TOO_MUCH = dict.fromkeys((413, 507), schemas.Problem)


class RepeatIn(Schema):
    """Which version; none: the one that is served."""

    version: int | None = None


@router.post(
    OF_VERSION,
    response={202: AblationDetail, **REFUSALS, **TOO_MUCH},
    auth=Bearer(Scope.ADMIN),
    operation_id="ablate",
)
def ablate(
    request: HttpRequest,
    slug: str,
    number: int,
    file: FileEx[UploadedFile, P(alias="rows", description="rows, one JSON object a line")],
    name: FormEx[str, P(max_length=NAME, description="what they are about; else the file's name")] = "",
    experts: FormEx[list[str], P(description="only these, owner/name; none: each")] = [],  # noqa: B006
) -> Status[AblationDetail]:
    """Measure on rows of yours what each expert of a version contributes, as the library's maintainer. Asking
    again with the same rows goes on where it ended.
    """
    user, library = author(request), libraries.library(slug)
    permissions.require_maintain(user, library)
    uploading.refuse_if_stopped(request)
    path = Path(cast("TemporaryUploadedFile", file).temporary_file_path())
    asked = services.request(
        version=indexes.version(library, number),
        file=path,
        name=name or file.name or "",
        by=user,
        experts=experts,
    )
    return Status(202, _detail(asked.pk, user))


@router.get(OF_VERSION, response={200: list[AblationOut], **NONE}, operation_id="ablations")
def ablations(request: HttpRequest, slug: str, number: int) -> list[AblationOut]:
    """What was measured of a version in this way, newest first."""
    version = indexes.version(libraries.library(slug), number)
    visitor = reader(request)
    return [AblationOut.of(found, visitor) for found in queries.of_version(version)]


@router.get(ONE, response={200: AblationDetail, **NONE}, operation_id="ablation", url_name="ablation")
def ablation(
    request: HttpRequest, ablation_id: int, limit: Limit = None, offset: Offset = 0
) -> AblationDetail:
    """One with what each expert contributes, as far as it is measured: all, or a part of them."""
    return _detail(ablation_id, reader(request), part(limit, offset))


@router.post(
    f"{ONE}/cancel",
    response={200: AblationDetail, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="cancel_ablation",
)
def cancel(request: HttpRequest, ablation_id: int) -> AblationDetail:
    """Stop it, as the library's maintainer. What is measured stays."""
    found, user = _maintained(request, ablation_id)
    services.cancel(ablation=found, by=user)
    return _detail(ablation_id, user)


@router.post(
    f"{ONE}/repeat",
    response={202: AblationDetail, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="repeat_ablation",
)
def repeat(request: HttpRequest, ablation_id: int, body: RepeatIn) -> Status[AblationDetail]:
    """Measure another version on the same rows, or go on with this one, as the library's maintainer."""
    found, user = _maintained(request, ablation_id)
    library = found.version.library
    if body.version is None and library.current is None:
        raise Conflict(f"{library.slug} serves no version; say which")
    number = (
        body.version if body.version is not None else cast("int", library.current and library.current.number)
    )
    asked = services.repeat(ablation=found, version=indexes.version(library, number), by=user)
    return Status(202, _detail(asked.pk, user))


@router.delete(
    f"{ONE}/rows",
    response={204: None, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="delete_ablation_rows",
)
def delete_rows(request: HttpRequest, ablation_id: int) -> Status[None]:
    """Forget the rows, as the library's maintainer. The figures stay."""
    found, _user = _maintained(request, ablation_id)
    services.forget_rows(ablation=found)
    return Status(204, None)


def _maintained(request: HttpRequest, ablation_id: int) -> tuple[Ablation, User]:
    user, found = author(request), queries.ablation(ablation_id)
    permissions.require_maintain(user, found.version.library)
    return found, user


def _detail(ablation_id: int, visitor: Visitor, listed: slice = ALL) -> AblationDetail:
    found = queries.ablation(ablation_id)
    contributions = queries.contributions(found, visitor)
    return AblationDetail.whole(
        found,
        visitor,
        experts=queries.asked_for(found),
        measured=contributions.count(),
        contributions=contributions[listed],
        jobs=jobs.about(ablation_id=ablation_id),
    )
