"""Fixing a release: its files with what was found about each, and what a person changed of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from hub.accounts.models import User
from hub.adapters import mending, pieces
from hub.adapters.cards import README
from hub.adapters.models import CommitFile, Release
from hub.adapters.staging import StagedFile
from hub.adapters.uploading import place_of
from hub.blobs import services as blobs
from hub.errors import FindingJson, Invalid
from hub.pages import reading
from hub.pages.visitors import signed_in

NEW_CARD = "README.md"
EDITABLE = ("adapter_config.json", "fletch_gates.json", NEW_CARD)
LONGEST_TEXT = 64 * 1024
SAMPLES = "samples.jsonl"  # as the findings call the rows


@dataclass(frozen=True)
class Part:
    """A file of the release: what was found about it, and its text where it can be edited on the page.

    `number` names its fields in the form: paths may hold what names of fields should not. A card that is not
    there yet is a part too, without any bytes.
    """

    number: int
    path: str
    size: int
    text: str | None
    findings: Sequence[FindingJson]

    @property
    def errors(self) -> int:
        return sum(finding["severity"] == "error" for finding in self.findings)


@dataclass(frozen=True)
class Mending:
    """All files of a release, and the findings that are about none of them."""

    parts: list[Part]
    about_rows: list[FindingJson]
    about_all: list[FindingJson]


def mending_of(release: Release) -> Mending:
    """What there is to mend, the files with errors first."""
    files = reading.files_of(release)
    parts = [_part(number, file, release.findings) for number, file in enumerate(files)]
    if not any(part.path.lower() == README for part in parts):
        about = [finding for finding in release.findings if finding["file"] == NEW_CARD]
        parts.append(Part(len(parts), NEW_CARD, 0, "", about))
    paths = {part.path for part in parts}
    parts.sort(key=lambda part: (not part.errors, part.text is None, part.path))
    rows = [finding for finding in release.findings if finding["file"] == SAMPLES]
    rest = [finding for finding in release.findings if finding["file"] not in {*paths, SAMPLES}]
    return Mending(parts, rows, rest)


def with_typed(found: Mending, request: HttpRequest) -> Mending:
    """The same with what was typed, so that a refusal loses nothing."""
    parts = [
        Part(part.number, part.path, part.size, _typed(request, part) or part.text, part.findings)
        for part in found.parts
    ]
    return Mending(parts, found.about_rows, found.about_all)


@contextmanager
def changes_in(request: HttpRequest, parts: Sequence[Part], owner: User) -> Iterator[mending.Changes]:
    """What the form says is to be different; its files are there inside the `with`: those that it brings, and
    those that our script sent in pieces before. Raises NotFound where pieces are missing, Invalid.
    """
    who, pieces_of_rows = signed_in(request), request.POST.get("sent-samples")
    rows = {SAMPLES: pieces_of_rows} if pieces_of_rows else {}
    with (
        TemporaryDirectory(prefix="mended-", dir=settings.TEMPORARY) as folder,
        pieces.staged(who, _sent(request, parts), owner) as sent,
        pieces.staged(who, rows, owner) as sent_rows,
    ):
        brought = [*_replaced(request, parts, Path(folder)), *_added(request), *sent]
        _require_once(file.path for file in brought)
        given = request.FILES.get("samples")
        samples = place_of(given) if given else next((one.source for one in sent_rows), None)
        yield mending.Changes(
            brought=brought,
            left_out=frozenset(part.path for part in parts if f"leave-{part.number}" in request.POST),
            samples=samples,
            keeps_samples="leave-samples" not in request.POST,
        )


def _require_once(paths: Iterable[str]) -> None:
    """Raises Invalid."""
    twice = [path for path, times in Counter(paths).items() if times > 1]
    if twice:
        raise Invalid(f"{', '.join(twice)}: found twice, expected once. Replace it or add it, not both.")


def _sent(request: HttpRequest, parts: Sequence[Part]) -> dict[str, str]:
    """The digests of files that are here in pieces, by path: in place of others, and new ones. Raises
    Invalid.
    """
    replaced = [(part.path, sha256) for part in parts if (sha256 := request.POST.get(f"sent-{part.number}"))]
    names, digests = request.POST.getlist("sent-name"), request.POST.getlist("sent-added")
    if len(names) != len(digests):
        raise Invalid(f"sent-added: found {len(digests)} digests and {len(names)} names, expected as many")
    found = [*replaced, *zip(names, digests, strict=True)]
    _require_once(path for path, _sha256 in found)
    return dict(found)


def _part(number: int, file: CommitFile, findings: Sequence[FindingJson]) -> Part:
    about = [finding for finding in findings if finding["file"] == file.path]
    return Part(number, file.path, file.blob.size, _text_of(file), about)


def _text_of(file: CommitFile) -> str | None:
    """None for what is not edited here: other files, long ones, and bytes that are no text."""
    if file.path not in EDITABLE or file.blob.size > LONGEST_TEXT:
        return None
    try:
        return b"".join(blobs.read(file.blob)).decode()
    except UnicodeDecodeError:
        return None


def _replaced(request: HttpRequest, parts: Sequence[Part], folder: Path) -> Iterator[StagedFile]:
    """A file that was chosen counts more than a text that was typed."""
    for part in parts:
        if file := request.FILES.get(f"file-{part.number}"):
            yield StagedFile(part.path, place_of(file))
        elif (typed := _typed(request, part)) is not None and f"sent-{part.number}" not in request.POST:
            place = folder / str(part.number)
            place.write_text(typed, encoding="utf-8", newline="")
            yield StagedFile(part.path, place)


def _typed(request: HttpRequest, part: Part) -> str | None:
    """None where the text is what it was: forms send every line's end as CRLF."""
    said: Any = request.POST.get(f"text-{part.number}")
    if said is None or part.text is None:
        return None
    typed = said.replace("\r\n", "\n")
    return None if typed == part.text.replace("\r\n", "\n") else typed


def _added(request: HttpRequest) -> Iterator[StagedFile]:
    for file in request.FILES.getlist("added"):
        yield StagedFile(file.name or "", place_of(file))
