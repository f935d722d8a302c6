"""Exports as pages show them: those of one thing, how far each is, and the form for another."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import QuerySet

from hub.adapters import permissions
from hub.adapters.models import Release
from hub.errors import NotFound
from hub.exports import cargo, queries
from hub.exports.models import Export
from hub.indexes.models import ComposedCheckpoint
from hub.jobs.models import Job, JobKind
from hub.jobs.services import key_of
from hub.library import permissions as library_permissions
from hub.library.permissions import Visitor
from hub.pages.forms import ExportForm

SHOWN = 10


@dataclass(frozen=True)
class Shown:
    """An export, and the work on it while it is on its way."""

    export: Export
    job: Job | None

    @property
    def has_ended(self) -> bool:
        return self.export.status != Export.Status.REQUESTED


def of_release(release: Release, visitor: Visitor) -> dict[str, Any] | None:
    """For its owner: what of its adapter went where, and a form where this release may go too."""
    adapter = release.adapter
    if not permissions.may_write(visitor, adapter):
        return None
    return _panel(
        queries.of_adapter(adapter),
        repo=adapter.full_name,
        may_go=cargo.may_go(release),
        closed=cargo.closed_by(adapter),
    )


def of_checkpoint(checkpoint: ComposedCheckpoint, visitor: Visitor) -> dict[str, Any] | None:
    """For its library's maintainer."""
    if not library_permissions.may_maintain(visitor, checkpoint.library):
        return None
    return _panel(
        queries.of_checkpoint(checkpoint),
        repo=f"{checkpoint.requested_by.username if checkpoint.requested_by else 'me'}/{checkpoint.folder}",
        may_go=checkpoint.status == ComposedCheckpoint.Status.READY,
    )


def one(number: int, visitor: Visitor) -> Shown:
    """Raises NotFound, also where it is not for this visitor."""
    export = queries.export(queries.exports(), number)
    if export.release is not None:
        may = permissions.may_write(visitor, export.release.adapter)
    else:
        may = export.checkpoint is not None and library_permissions.may_maintain(
            visitor, export.checkpoint.library
        )
    if not may:
        raise NotFound(f"There is no export {number} here, or it is not yours.")
    return _with_work([export])[0]


def page_of(shown: Shown) -> dict[str, Any]:
    """One export, and what it is of."""
    release, checkpoint = shown.export.release, shown.export.checkpoint
    adapter = release.adapter if release else None
    library = adapter.library if adapter else checkpoint and checkpoint.library
    return {"shown": shown, "adapter": adapter, "library": library}


def _panel(found: QuerySet[Export], *, repo: str, may_go: bool, closed: str = "") -> dict[str, Any] | None:
    listed = _with_work(found[:SHOWN])
    form = None
    if may_go and settings.EXPORT_TO:
        last = listed[0].export if listed else None
        place = {"endpoint": last.endpoint, "repo": last.repo} if last else {"repo": repo}
        form = ExportForm(initial=place, auto_id="export_%s", closed=bool(closed))
    if not listed and form is None:
        return None
    is_moving = not all(shown.has_ended for shown in listed)
    return {"listed": listed, "form": form, "closed": closed, "is_moving": is_moving}


def _with_work(exports: Iterable[Export]) -> list[Shown]:
    """In one query more, and in none where everything has ended."""
    found = list(exports)
    moving = [export for export in found if export.status == Export.Status.REQUESTED]
    keys = {export.pk: key_of(JobKind.EXPORT, {"export_id": export.pk}) for export in moving}
    work = {job.key: job for job in Job.objects.filter(key__in=keys.values()).order_by("pk")} if keys else {}
    return [Shown(export, work.get(keys.get(export.pk, ""))) for export in found]
