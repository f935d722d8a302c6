"""Releases and composed checkpoints, pushed to other hubs by whose they are."""

from collections import defaultdict
from collections.abc import Iterable

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Router, Status

from hub import schemas
from hub.accounts.models import Scope
from hub.accounts.visitors import AnyVisitor, Bearer, author, reader
from hub.adapters import permissions as adapter_permissions
from hub.adapters import queries as adapters
from hub.exports import queries, services
from hub.exports.models import Export
from hub.exports.schemas import ExportIn, ExportOut, ReleaseExportIn
from hub.http import own_address
from hub.indexes import queries as indexes
from hub.jobs.models import Job, JobKind
from hub.jobs.services import key_of
from hub.library import permissions
from hub.library.permissions import Visitor

router = Router(tags=["exports"], auth=AnyVisitor())
REFUSALS = dict.fromkeys((400, 401, 403, 404, 409, 501), schemas.Problem)
UNSEEN = dict.fromkeys((403, 404), schemas.Problem)
OF_ADAPTER = "/adapters/{owner}/{name}/exports"
OF_CHECKPOINT = "/checkpoints/{checkpoint_id}/exports"
MOST_LISTED = 100


@router.post(
    OF_ADAPTER,
    response={202: ExportOut, **REFUSALS},
    auth=Bearer(Scope.WRITE),
    operation_id="export_release",
)
def export_release(request: HttpRequest, owner: str, name: str, body: ReleaseExportIn) -> Status[ExportOut]:
    """Push a release of yours to a repository of another hub; its `status` says when it has ended."""
    user = author(request)
    adapter = adapters.adapter(user, owner, name)
    adapter_permissions.require_write(user, adapter)
    release = adapters.release(adapter, body.revision)
    made = services.export_release(release=release, by=user, wish=body.wish, hub=own_address(request))
    return Status(202, _described([made])[0])


@router.get(OF_ADAPTER, response={200: list[ExportOut], **UNSEEN}, operation_id="exports")
def exports(request: HttpRequest, owner: str, name: str) -> list[ExportOut]:
    """What was pushed of an adapter of yours, newest first."""
    return _described(_of_adapter(reader(request), owner, name)[:MOST_LISTED])


@router.get(OF_ADAPTER + "/{number}", response={200: ExportOut, **UNSEEN}, operation_id="export")
def export(request: HttpRequest, owner: str, name: str, number: int) -> ExportOut:
    """How far it is."""
    return _described([queries.export(_of_adapter(reader(request), owner, name), number)])[0]


@router.post(
    OF_CHECKPOINT,
    response={202: ExportOut, **REFUSALS},
    auth=Bearer(Scope.ADMIN),
    operation_id="export_checkpoint",
)
def export_checkpoint(request: HttpRequest, checkpoint_id: int, body: ExportIn) -> Status[ExportOut]:
    """Push a composed checkpoint to a repository of another hub, as the library's maintainer."""
    user = author(request)
    checkpoint = indexes.checkpoint(checkpoint_id)
    permissions.require_maintain(user, checkpoint.library)
    made = services.export_checkpoint(
        checkpoint=checkpoint, by=user, wish=body.wish, hub=own_address(request)
    )
    return Status(202, _described([made])[0])


@router.get(OF_CHECKPOINT, response={200: list[ExportOut], **UNSEEN}, operation_id="checkpoint_exports")
def checkpoint_exports(request: HttpRequest, checkpoint_id: int) -> list[ExportOut]:
    """What was pushed of a checkpoint, for the library's maintainer."""
    return _described(_of_checkpoint(reader(request), checkpoint_id)[:MOST_LISTED])


@router.get(
    OF_CHECKPOINT + "/{number}", response={200: ExportOut, **UNSEEN}, operation_id="checkpoint_export"
)
def checkpoint_export(request: HttpRequest, checkpoint_id: int, number: int) -> ExportOut:
    """How far it is."""
    return _described([queries.export(_of_checkpoint(reader(request), checkpoint_id), number)])[0]


def _of_adapter(visitor: Visitor, owner: str, name: str) -> QuerySet[Export]:
    adapter = adapters.adapter(visitor, owner, name)
    adapter_permissions.require_write(visitor, adapter)
    return queries.of_adapter(adapter)


def _of_checkpoint(visitor: Visitor, checkpoint_id: int) -> QuerySet[Export]:
    checkpoint = indexes.checkpoint(checkpoint_id)
    permissions.require_maintain(visitor, checkpoint.library)
    return queries.of_checkpoint(checkpoint)


def _described(found: Iterable[Export]) -> list[ExportOut]:
    """With the work on each, in one query more."""
    exports = list(found)
    keys = {key_of(JobKind.EXPORT, {"export_id": export.pk}): export.pk for export in exports}
    work = defaultdict(list)
    for job in Job.objects.filter(key__in=keys).order_by("pk"):
        work[keys[job.key]].append(job)
    return [ExportOut.of(export, jobs=work[export.pk]) for export in exports]
