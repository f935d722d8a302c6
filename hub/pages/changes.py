"""How two releases of an adapter differ: files, configuration, card, and what the update itself became."""

import difflib
import json
import math
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hub.adapters.facts import CONFIG, LARGEST_CONFIG
from hub.adapters.models import CommitFile, Release
from hub.blobs import services as blobs
from hub.blobs.models import Blob
from hub.pages import phrases
from hub.pages.reading import card_of, files_of

MOST_LINES = 1_000  # of a card, that are compared line by line
MOST_FIELDS = 100
LONGEST_VALUE = 200
CONTEXT = 3
NUMBERS = {
    "expert_kind": "Kind",
    "rank_smallest": "Smallest rank",
    "rank_largest": "Largest rank",
    "modules": "Target modules",
    "kinds": "Kinds of target module",
    "parameters": "Parameters",
    "norm": "Norm of the update",
}


@dataclass(frozen=True)
class FileChange:
    """`sign` is + where a file came, - where it went, ~ where its bytes changed."""

    sign: str
    path: str
    before: int | None
    after: int | None


@dataclass(frozen=True)
class FieldChange:
    """A value that changed; empty where there was none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class DiffLine:
    """A line of a card: `sign` is +, -, @ between two places, or nothing."""

    sign: str
    text: str


@dataclass(frozen=True)
class Changes:
    """`config` is None where this visitor cannot read both files; `card` where one is too long."""

    files: list[FileChange]
    unchanged: int
    config: list[FieldChange] | None
    card: list[DiffLine] | None
    numbers: list[FieldChange]
    similarity: float | None

    @property
    def same(self) -> bool:
        """Nothing of the files changed."""
        return not self.files


def between(before: Release, after: Release, *, with_files: bool) -> Changes:
    """`with_files`: whether this visitor may have the files, and so see what is in them."""
    old, new = files_of(before), files_of(after)
    files = list(_files(_by_path(old), _by_path(new)))
    return Changes(
        files=files,
        unchanged=len(new) - sum(change.sign in "+~" for change in files),
        config=_config(_by_path(old), _by_path(new)) if with_files else None,
        card=_card(old, new),
        numbers=list(_numbers(before.statistics, after.statistics)),
        similarity=_similarity(before, after),
    )


def _by_path(files: Iterable[CommitFile]) -> dict[str, Blob]:
    return {file.path: file.blob for file in files}


def _files(old: Mapping[str, Blob], new: Mapping[str, Blob]) -> Iterator[FileChange]:
    for path in sorted({*old, *new}):
        was, now = old.get(path), new.get(path)
        if was is None and now is not None:
            yield FileChange("+", path, None, now.size)
        elif now is None and was is not None:
            yield FileChange("-", path, was.size, None)
        elif was is not None and now is not None and was.pk != now.pk:
            yield FileChange("~", path, was.size, now.size)


def _config(old: Mapping[str, Blob], new: Mapping[str, Blob]) -> list[FieldChange] | None:
    was, now = _parsed(old.get(CONFIG)), _parsed(new.get(CONFIG))
    return None if was is None or now is None else list(_fields(was, now))


def _parsed(blob: Blob | None) -> dict[str, Any] | None:
    if blob is None or blob.size > LARGEST_CONFIG:
        return None
    try:
        found = json.loads(b"".join(blobs.read(blob)))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _fields(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[FieldChange]:
    changed = [name for name in sorted({*was, *now}) if _value(was, name) != _value(now, name)]
    for name in changed[:MOST_FIELDS]:
        yield FieldChange(name[:LONGEST_VALUE], _value(was, name), _value(now, name))


def _value(found: Mapping[str, Any], name: str) -> str:
    if name not in found:
        return ""
    value = found[name]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = sorted(value)  # target modules are a set that peft writes in any order
    return json.dumps(value, ensure_ascii=False)[:LONGEST_VALUE]


def _card(old: list[CommitFile], new: list[CommitFile]) -> list[DiffLine] | None:
    """The text below the front matter, line by line."""
    was, now = _lines(old), _lines(new)
    if max(len(was), len(now)) > MOST_LINES:
        return None
    found = list(difflib.unified_diff(was, now, lineterm="", n=CONTEXT))[2:]
    return [DiffLine(line[0].strip(), "" if line[0] == "@" else line[1:]) for line in found]


def _lines(files: list[CommitFile]) -> list[str]:
    card = card_of(files)
    return [] if card is None else card[0].body.splitlines()


def _numbers(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[FieldChange]:
    """What was computed of both; nothing where either is no expert yet."""
    flat_was, flat_now = ({**found.get("summary", {}), **found} for found in (was, now))
    if not was.get("modules") or not now.get("modules"):
        return
    for flat, found in ((flat_was, was), (flat_now, now)):
        flat["modules"] = len(found["modules"])
    for name, spoken in NUMBERS.items():
        before, after = flat_was.get(name), flat_now.get(name)
        if before is not None or after is not None:
            yield FieldChange(spoken, _number(before), _number(after))


def _number(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(one) for one in value)
    if isinstance(value, int):
        return phrases.count(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value or "")


def _similarity(before: Release, after: Release) -> float | None:
    """The cosine of the two updates, as their fingerprints estimate it: to about 0.03, their 1,024 numbers'
    standard error (`routing.factors.fingerprint`).
    """
    found = dict(Release.objects.filter(pk__in=[before.pk, after.pk]).values_list("pk", "fingerprint"))
    vectors = [array("f", bytes(found[one.pk] or b"")) for one in (before, after)]
    one, other = vectors
    lengths = [math.hypot(*vector) for vector in vectors]
    if len(one) != len(other) or not all(lengths):
        return None
    product = math.fsum(a * b for a, b in zip(one, other, strict=True)) / (lengths[0] * lengths[1])
    return max(-1.0, min(1.0, product))
