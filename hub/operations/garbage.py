"""Finding and removing bytes that nothing names any more.

Nothing younger than the grace is touched. A blob is removed under a lock on its row, after a second look
inside the
transaction: an upload of the same bytes at that moment either renews the row first, or finds the row gone and
stores
the bytes again (see blobs.services.store_file).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from hub import faults
from hub.ablations.models import Ablation
from hub.adapters.models import CommitFile, Gates, Release
from hub.blobs import content
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.clusters.models import Clustering
from hub.hf import sink
from hub.indexes.models import (
    CheckpointFile,
    ComposedCheckpoint,
    IndexMember,
    IndexVersion,
    PromptClassifier,
)
from hub.jobs.models import Job
from hub.library.models import CollectorRows, Library
from hub.operations import index_store
from hub.search.models import QueryTable

LONGEST_WORK = timedelta(hours=3)  # a composition may use its folder for two


@dataclass(frozen=True)
class Garbage:
    """Something that could go: what it is, and how many bytes it holds."""

    what: str
    size: int


def unreferenced(grace: timedelta) -> QuerySet[Blob]:
    """Blobs that nothing names and that were last brought before the grace."""
    files = CommitFile.objects.filter(blob=OuterRef("pk"))
    samples = Release.objects.filter(samples=OuterRef("pk"))
    given = CollectorRows.objects.filter(blob=OuterRef("pk"))
    measured_on = Ablation.objects.filter(rows_blob=OuterRef("pk"))
    composed = CheckpointFile.objects.filter(blob=OuterRef("pk"))
    bundles = sink.live().filter(blob=OuterRef("pk"))
    tables = QueryTable.objects.filter(Q(vectors=OuterRef("pk")) | Q(tokenizer=OuterRef("pk")))
    old = Blob.objects.filter(stored_at__lt=timezone.now() - grace)
    named = (files, samples, given, measured_on, composed, bundles, tables)
    return old.filter(*(~Exists(rows) for rows in named))


def expired_checkpoints() -> QuerySet[ComposedCheckpoint]:
    return ComposedCheckpoint.objects.filter(expires_at__lt=timezone.now())


def find(grace: timedelta) -> Iterator[Garbage]:
    """What `collect` would remove now. Changes nothing."""
    for checkpoint in expired_checkpoints().select_related("library", "version"):
        yield Garbage(f"expired composed checkpoint {checkpoint.pk} ({checkpoint})", 0)
    for blob in unreferenced(grace).order_by("pk"):
        yield Garbage(f"blob {blob.sha256}", blob.size)
    for found in _without_row(grace):
        yield Garbage(f"blob without a row {found.sha256}", found.size)
    for found in _unnamed_objects(grace):
        yield Garbage(f"index object {found.sha256}", found.size)


def collect(grace: timedelta) -> Iterator[Garbage]:
    """Remove it, one by one."""
    for checkpoint in expired_checkpoints().select_related("library", "version"):
        name = f"expired composed checkpoint {checkpoint.pk} ({checkpoint})"
        checkpoint.delete()
        yield Garbage(name, 0)
    for found in list(_without_row(grace)):
        _adopt(found.sha256, found.size, found.modified_at)
    for sha256 in list(unreferenced(grace).order_by("pk").values_list("pk", flat=True)):
        size = _remove_blob(sha256, grace)
        if size is not None:
            yield Garbage(f"blob {sha256}", size)
    root = index_store.folder()
    for found in list(_unnamed_objects(grace)):
        if root is None or _anybody_works():  # somebody who began meanwhile may count on this object
            break
        index_store.object_path(root, found.sha256).unlink(missing_ok=True)
        yield Garbage(f"index object {found.sha256}", found.size)
    for path in blobs.sweep_temporary(max(grace, LONGEST_WORK)):
        yield Garbage(f"temporary {path.name}", 0)


@transaction.atomic
def _remove_blob(sha256: str, grace: timedelta) -> int | None:
    """The size that became free; None when somebody needs the blob again."""
    blob = Blob.objects.select_for_update().filter(pk=sha256).first()
    if blob is None or not unreferenced(grace).filter(pk=sha256).exists():
        return None
    faults.reach("garbage.rechecked")
    blob.delete()
    blobs.storage().remove(sha256)  # before the commit: who waits for this row then finds no bytes either
    faults.reach("garbage.unlinked")
    return blob.size


def _without_row(grace: timedelta) -> Iterator[content.StoredObject]:
    """Bytes whose upload died between the file and the row."""
    before = timezone.now() - grace
    for found in blobs.storage().listing():
        if found.modified_at < before and not Blob.objects.filter(pk=found.sha256).exists():
            yield found


def _adopt(sha256: str, size: int, stored_at: datetime) -> None:
    """Give bytes a row, so that they are removed under its lock like all others."""
    Blob.objects.get_or_create(sha256=sha256, defaults={"size": size, "git_oid": "", "stored_at": stored_at})


def _unnamed_objects(grace: timedelta) -> Iterator[content.StoredObject]:
    """Objects of a folder store that no version, release or library names; none while workers may be writing
    some.
    """
    root = index_store.folder()
    if root is None or _anybody_works() or not root.exists():
        return
    named = index_store.reachable(root, _seeds())
    before = timezone.now() - grace
    for found in index_store.objects(root):
        if found.sha256 not in named and found.modified_at < before:
            yield found


def _anybody_works() -> bool:
    return Job.objects.filter(Q(state=Job.State.RUNNING) | Q(state=Job.State.QUEUED)).exists()


def _seeds() -> Iterator[str]:
    yield from IndexVersion.objects.exclude(manifest="").values_list("manifest", flat=True)
    yield from Library.objects.exclude(base_digest="").values_list("base_digest", flat=True)
    for digests in Release.objects.exclude(vectors_digest="").values_list(
        "vectors_digest", "factors_digest", "profile_digest"
    ):
        yield from filter(None, digests)
    yield from IndexMember.objects.exclude(profile_digest="").values_list("profile_digest", flat=True)
    yield from PromptClassifier.objects.values_list("digest", flat=True)
    yield from Gates.objects.values_list("vectors_digest", flat=True)
    yield from Clustering.objects.values_list("matrix", flat=True)
