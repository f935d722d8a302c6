"""Received files on their way to being kept."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StagedFile:
    """A received file, on disk but not yet kept: where it belongs in the tree, and where its bytes are."""

    path: str
    source: Path
