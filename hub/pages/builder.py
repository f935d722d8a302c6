"""The builder of composed checkpoints: what is chosen, and what would come of it before any work is done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from hub.errors import HubError
from hub.exports import licences
from hub.exports.licences import Summary
from hub.indexes import checkpoints, queries
from hub.indexes import parts as making
from hub.indexes.models import ComposedCheckpoint, IndexVersion
from hub.indexes.parts import Part, Size
from hub.library.models import Library
from hub.mirrors import queries as mirrors
from hub.pages.checkpoint_form import CheckpointForm, called

MOST_VERSIONS = 50
MOST_LEFT_OUT = 5


@dataclass(frozen=True)
class Review:
    """What would be made: of how many experts, how large, under which licences; and is it there already?

    `refused` says why it cannot be made.
    """

    kind: str
    count: int
    left_out: Sequence[str]
    size: Size
    licences: Summary
    there: ComposedCheckpoint | None
    refused: HubError | None


@dataclass(frozen=True)
class Builder:
    """A form over one version, filled in or not, and the review of what it says."""

    version: IndexVersion
    form: CheckpointForm
    review: Review | None
    said: Sequence[tuple[str, str]]


def builder(library: Library, said: QueryDict) -> Builder | None:
    """None where nothing is published yet. Nothing said means all experts, routed, of the served version."""
    numbers = list(
        queries.published(library).order_by("-number").values_list("number", flat=True)[:MOST_VERSIONS]
    )
    if not numbers:
        return None
    current = library.current.number if library.current else numbers[0]
    numbers = sorted({*numbers, current}, reverse=True)
    wanted = said.get("version", "")
    number = int(wanted) if wanted.isdecimal() and int(wanted) in numbers else current
    version = queries.version(library, number)
    there = making.parts(version)
    first = QueryDict(mutable=True)
    first.update({"version": str(number), "kind": ComposedCheckpoint.Kind.ROUTED.value})
    asked = said if "kind" in said else first
    form = CheckpointForm(asked, versions=numbers, parts=there)
    review = _review(version, form, there) if form.is_valid() else None
    hidden = [(name, value) for name in form.fields for value in asked.getlist(name) if value]
    return Builder(version, form, review, hidden)


def licences_of(version: IndexVersion, chosen: Sequence[Part], *, merged: bool) -> Summary:
    """By what cards say, and where they say nothing by what the hub says that an expert came from."""
    came_with = mirrors.licences(version.members())
    by_name = {part.name: part.licence or came_with.get(part.release, "") for part in chosen}
    return licences.summary(by_name, merged=merged)


def chosen_parts(there: Sequence[Part], names: Sequence[str]) -> list[Part]:
    """Those that are named, or all that are open to all."""
    wanted = set(names)
    return [part for part in there if (part.name in wanted if wanted else not part.gated)]


def _review(version: IndexVersion, form: CheckpointForm, there: list[Part]) -> Review:
    kind, options = form.cleaned_data["kind"], form.options()
    found, refused = None, None
    try:
        found = checkpoints.there_already(
            version=version, kind=kind, options=options, members=there, called=called
        )
    except HubError as error:
        refused = error
    chosen = chosen_parts(there, options.get("experts", ()))
    gated = [part.name for part in there if part.gated]
    return Review(
        kind=kind,
        count=len(chosen),
        left_out=gated[:MOST_LEFT_OUT] if not options.get("experts") else (),
        size=making.size(
            version,
            kind,
            chosen,
            rank=options.get("rank") or checkpoints.DEFAULT_RANK,
            bits=None if refused else options.get("bits"),
        ),
        licences=licences_of(version, chosen, merged=kind != ComposedCheckpoint.Kind.ROUTED),
        there=found,
        refused=refused,
    )


def composed_licences(checkpoint: ComposedCheckpoint) -> Summary:
    """Of one that was asked for."""
    chosen: Any = checkpoint.options.get("experts") or ()
    there = chosen_parts(making.parts(checkpoint.version), chosen)
    return licences_of(checkpoint.version, there, merged=checkpoint.kind != ComposedCheckpoint.Kind.ROUTED)
