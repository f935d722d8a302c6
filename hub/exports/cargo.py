"""What an export pushes: the files as they are, under a card that says where they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hub.adapters import history
from hub.adapters.cards import LARGEST_CARD, README, with_facts
from hub.adapters.models import Adapter, Release
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.errors import Conflict
from hub.exports import origins, queries
from hub.exports.models import Export
from hub.exports.origins import Facts
from hub.indexes import queries as indexes
from hub.indexes.models import ComposedCheckpoint
from hub.library import permissions

CARD = "README.md"
Closed = Literal["", "gated", "private"]


@dataclass(frozen=True)
class Cargo:
    """Paths to blobs, and beside them small files by their bytes; `gone` is what an earlier export brought to
    the same place and this one lacks.
    """

    files: Mapping[str, Blob]
    written: Mapping[str, bytes]
    gone: tuple[str, ...]
    summary: str
    description: str


def check_release(release: Release) -> None:
    """May its owner push it to another hub? Raises Conflict."""
    number, name = release.number, release.adapter.full_name
    if release.adapter.deleted_at is not None:
        raise Conflict(f"{name} was deleted, so it is not exported")
    if release.quarantined_at is not None:
        raise Conflict(
            f"release {number} of {name} is in quarantine, so it is not exported: {release.reason}"
        )
    if release.status == Release.Status.REJECTED:
        raise Conflict(
            f"release {number} of {name} was rejected, so it is not exported; its findings say why"
        )


def may_go(release: Release) -> bool:
    """The same as a question."""
    try:
        check_release(release)
    except Conflict:
        return False
    return True


def check_checkpoint(checkpoint: ComposedCheckpoint) -> None:
    """Is it ready, and may it be given out? Raises NotFound, Disabled."""
    indexes.downloadable_checkpoint(checkpoint.pk)


def closed_to_whom(export: Export) -> Closed:
    """What the repository there must be at least: as it is asked, and as closed as the adapter is here."""
    if export.private or export.release is None:
        return "private" if export.private else ""
    return closed_by(export.release.adapter)


def closed_by(adapter: Adapter) -> Closed:
    """How closed an adapter is here."""
    if adapter.private:
        return "private"
    return "gated" if adapter.gating else ""


def cargo_of(export: Export) -> Cargo:
    """All that is pushed, as it is now. Raises Conflict, NotFound, Disabled where it may not be any more."""
    if export.by is None or not export.by.is_active:
        raise Conflict("whoever asked for this export has no account here any more")
    if export.release is not None:
        return _of_release(export, export.release)
    assert export.checkpoint is not None, "the database keeps this promise"
    library = export.checkpoint.library
    if not permissions.may_maintain(export.by, library):
        raise Conflict(f"{export.by.username} asked for this export and maintains {library.slug} no longer")
    return _of_checkpoint(export, export.checkpoint)


def _of_release(export: Export, release: Release) -> Cargo:
    check_release(release)
    summary = f"Release {release.number} of {release.adapter.full_name}"
    return _loaded(export, history.tree_of(release.commit), origins.of_release(release, export.hub), summary)


def _of_checkpoint(export: Export, checkpoint: ComposedCheckpoint) -> Cargo:
    check_checkpoint(checkpoint)
    files = {file.path: file.blob for file in checkpoint.files.select_related("blob")}
    return _loaded(export, files, origins.of_checkpoint(checkpoint, export.hub), str(checkpoint))


def _loaded(export: Export, files: dict[str, Blob], facts: Facts, summary: str) -> Cargo:
    """A card that is too large to be read is left as it is; the commit says the origin in any case."""
    path = next((path for path in files if path.lower() == README), CARD)
    written = {}
    if path not in files or files[path].size <= LARGEST_CARD:
        said = b"".join(blobs.read(files.pop(path))) if path in files else b""
        written[CARD] = with_facts(said, facts.always, unless_said=facts.unless_said)
    gone = queries.brought_before(export) - files.keys() - written.keys()
    return Cargo(files, written, tuple(sorted(gone)), summary, f"Pushed from {facts.origin}")
