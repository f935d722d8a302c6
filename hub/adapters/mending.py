"""The next release of an adapter, made of one that is here.

Some files are brought anew, some left out; the rest is linked from where it is and not sent again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.accounts.models import User
from hub.adapters import pieces, services
from hub.adapters.models import Release
from hub.adapters.staging import StagedFile
from hub.errors import Invalid

ROWS = "the sample rows"


@dataclass(frozen=True)
class Changes:
    """What is to be different from the release that is mended."""

    brought: Sequence[StagedFile] = ()
    left_out: frozenset[str] = frozenset()
    samples: Path | None = None
    keeps_samples: bool = True


def mend(release: Release, changes: Changes, *, message: str = "", by: User | None = None) -> Release:
    """The release after these changes, on its way through the pipeline. Raises Invalid where nothing differs,
    NotFound, Conflict, BadArchive, TooLarge, StorageFull.
    """
    adapter = release.adapter
    touched = changes.left_out | {file.path for file in changes.brought}
    kept = {path: sha256 for path, sha256 in _files(release).items() if path not in touched}
    with (
        pieces.staged(by or adapter.owner, kept, adapter.owner) as files,
        pieces.staged(by or adapter.owner, _kept_rows(release, changes), adapter.owner) as rows,
    ):
        mended = services.receive_upload(
            owner=adapter.owner,
            by=by,
            library=release.library,
            name=adapter.name,
            files=[*files, *changes.brought],
            samples=rows[0].source if rows else changes.samples,
            message=message,
            private=adapter.private,
        )
    if mended == release:
        raise Invalid(f"Nothing differs from release {release.number}. Change at least one of its files.")
    return mended


def _files(release: Release) -> dict[str, str]:
    return dict(release.commit.files.values_list("path", "blob_id"))


def _kept_rows(release: Release, changes: Changes) -> dict[str, str]:
    if release.samples_id is None or changes.samples is not None or not changes.keeps_samples:
        return {}
    return {ROWS: release.samples_id}
