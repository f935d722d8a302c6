"""The index store as files: what lies in it and what is still named by something.

The layout is routing's (`objects/ab/<sha256>`, `libraries/<library>/versions/*.json`,
`libraries/<library>/current.json`). The hub only
reads names and JSON here; a store in a bucket is left to the bucket's own tools.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings

from hub.blobs.content import StoredObject, chunks

DIGEST = re.compile(r"[0-9a-f]{64}")
LARGEST_JSON = 64 * 1024 * 1024
JSON_STARTS = (b"{", b"[")


def folder() -> Path | None:
    """Where the store is, if it is a folder of this machine."""
    return None if "://" in settings.STORE_URL else Path(settings.STORE_URL)


def objects(root: Path) -> Iterator[StoredObject]:
    for path in (root / "objects").glob("??/*"):
        if DIGEST.fullmatch(path.name):
            facts = path.stat()
            yield StoredObject(path.name, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC))


def object_path(root: Path, digest: str) -> Path:
    return root / "objects" / digest[:2] / digest


def is_intact(root: Path, digest: str) -> bool:
    """Do the bytes under this name have this sha256? Raises FileNotFoundError."""
    sha256 = hashlib.sha256()
    with object_path(root, digest).open("rb") as file:
        for chunk in chunks(file):
            sha256.update(chunk)
    return sha256.hexdigest() == digest


def reachable(root: Path, seeds: Iterable[str]) -> set[str]:
    """Everything named by the seeds, by the library files, or by an object so reached.

    Any 64 hex digits inside a JSON object count as a name: this may keep too much, and never too little.
    """
    waiting = list(seeds)
    for path in (root / "libraries").rglob("*.json"):
        waiting += DIGEST.findall(path.read_text())
    found: set[str] = set()
    while waiting:
        digest = waiting.pop()
        if digest not in found:
            found.add(digest)
            waiting += _names_inside(object_path(root, digest))
    return found


def _names_inside(path: Path) -> list[str]:
    if not path.exists() or path.stat().st_size > LARGEST_JSON:
        return []
    with path.open("rb") as file:
        if file.read(1) not in JSON_STARTS:
            return []
        file.seek(0)
        return DIGEST.findall(file.read().decode("utf-8", "replace"))


def published(root: Path, library: str, number: int) -> str | None:
    """The manifest's digest under a version's number, or None."""
    return _read(root / "libraries" / library / "versions" / f"{number:08}.json", "manifest")


def current(root: Path, library: str) -> int | None:
    """The number that the serving processes see, or None."""
    found = _read(root / "libraries" / library / "current.json", "number")
    return None if found is None else int(found)


def _read(path: Path, field: str) -> str | None:
    try:
        value = json.loads(path.read_text()).get(field)
    except (FileNotFoundError, ValueError, AttributeError):
        return None
    return None if value is None else str(value)
