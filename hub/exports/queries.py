"""Looking at what goes, or went, to other hubs."""

from django.db.models import Q, QuerySet

from hub.adapters.models import Adapter, CommitFile
from hub.errors import NotFound
from hub.exports.models import Export
from hub.indexes.models import CheckpointFile, ComposedCheckpoint

WEIGHTS = "adapter_model.safetensors"


def exports() -> QuerySet[Export]:
    """Newest first, with what they are of."""
    return Export.objects.select_related(
        "release__adapter__owner",
        "release__adapter__library",
        "release__commit",
        "checkpoint__library",
        "checkpoint__version__library",
        "by",
    ).defer("release__findings", "release__measurements", "release__statistics", "release__fingerprint")


def of_adapter(adapter: Adapter) -> QuerySet[Export]:
    """Of any of its releases."""
    return exports().filter(release__adapter=adapter)


def of_checkpoint(checkpoint: ComposedCheckpoint) -> QuerySet[Export]:
    return exports().filter(checkpoint=checkpoint)


def export(among: QuerySet[Export], number: int) -> Export:
    """Raises NotFound."""
    found = among.filter(pk=number).first()
    if found is None:
        raise NotFound(f"there is no export {number} here")
    return found


def brought_before(export: Export) -> set[str]:
    """The paths of what this hub pushed to the same repository last, whatever it was."""
    last = (
        Export.objects.filter(endpoint=export.endpoint, repo=export.repo, status=Export.Status.DONE)
        .select_related("release")
        .first()
    )
    if last is None:
        return set()
    if last.release is not None:
        return set(CommitFile.objects.filter(commit=last.release.commit_id).values_list("path", flat=True))
    return set(CheckpointFile.objects.filter(checkpoint=last.checkpoint_id).values_list("path", flat=True))


def came_from_here(endpoint: str, repo: str, *, sha256: str, git_oid: str) -> Export | None:
    """The export that put these very weights, under either name, into this repository, if there was one."""
    named = Q(blob=sha256) if sha256 else Q(blob__git_oid=git_oid)
    releases = CommitFile.objects.filter(named, path=WEIGHTS).values("commit")
    checkpoints = CheckpointFile.objects.filter(named, path=WEIGHTS).values("checkpoint")
    return (
        exports()
        .filter(
            Q(release__commit__in=releases) | Q(checkpoint__in=checkpoints),
            endpoint=endpoint,
            repo=repo,
            status=Export.Status.DONE,
        )
        .first()
    )
