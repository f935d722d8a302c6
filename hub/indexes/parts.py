"""What a checkpoint would be made of, and about how large it would be, from what is recorded."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum
from django.db.models.fields.json import KeyTextTransform, KeyTransform
from django.db.models.functions import Coalesce

from hub.indexes.models import CheckpointFile, ComposedCheckpoint, IndexVersion
from hub.indexes.quantising import saved
from hub.library.models import Library

BYTES_OF_A_FACTOR = 4  # adapters are written in float32
BYTES_OF_A_WEIGHT = (2, 4)  # a base is stored in 16 bits a number, or in 32
SLACK = 1.02  # headers, tokenizer, descriptions


@dataclass(frozen=True)
class Part:
    """One expert of a version, as far as a builder needs to know it."""

    release: int
    name: str
    licence: str
    gated: bool
    size: int


@dataclass(frozen=True)
class Size:
    """Between so many bytes; equal where both are known."""

    least: int
    most: int


def parts(version: IndexVersion) -> list[Part]:
    """One read; sorted by name. A release's figures are large, and none of them is read here."""
    rows = version.memberships().values_list(
        "release_id",
        "release__adapter__owner__username",
        "release__adapter__name",
        KeyTextTransform("license", "release__commit__card"),
        "release__adapter__gating",
        Coalesce("gates__vectors_size", "release__vectors_size"),
        "release__factors_size",
        "profile_size",
    )
    return sorted((_part(*row) for row in rows), key=lambda part: part.name)


def size(
    version: IndexVersion, kind: str, chosen: Iterable[Part], *, rank: int, bits: int | None = None
) -> Size:
    """Of the archive. Where nobody composed from a base before, its own size is known to a factor of two.

    `rank` counts for an adapter; `bits` for merged weights, where they are not as the base has them.
    """
    library, chosen = version.library, list(chosen)
    if kind == ComposedCheckpoint.Kind.ADAPTER:
        kinds = _kinds(version, {part.release for part in chosen})
        widths = sum(
            module["d_in"] + module["d_out"]
            for module in _modules(library)
            if module["name"].rpartition(".")[2] in kinds or not kinds
        )
        whole = round(widths * rank * BYTES_OF_A_FACTOR * SLACK)
        return Size(whole, whole)
    base = _base_size(library)
    if kind == ComposedCheckpoint.Kind.MERGED:
        return (
            base
            if bits is None
            else Size(*(_rounded(library, whole, bits) for whole in (base.least, base.most)))
        )
    experts = sum(part.size for part in chosen)
    return Size(base.least + experts, base.most + experts)


def _kinds(version: IndexVersion, releases: Collection[int]) -> set[str]:
    """The kinds of module that any of these releases changes."""
    said = KeyTextTransform("kinds", KeyTransform("summary", "release__statistics"))
    lists = {kinds for pk, kinds in version.memberships().values_list("release_id", said) if pk in releases}
    return {name for kinds in lists if kinds for name in json.loads(kinds)}


def _part(*row: Any) -> Part:
    release, owner, name, licence, gating, vectors, factors, profile = row
    return Part(
        release,
        f"{owner}/{name}",
        licence if licence and not licence.startswith(("[", "{")) else "",  # a card may say anything
        bool(gating),
        vectors + factors + profile,
    )


def _modules(library: Library) -> list[dict[str, Any]]:
    return list((library.base_spec or {}).get("target_modules", ()))


def _base_size(library: Library) -> Size:
    """As it was in the newest routed checkpoint of the library, or what its layers and vocabulary need."""
    done = ComposedCheckpoint.objects.filter(
        library=library, kind=ComposedCheckpoint.Kind.ROUTED, status=ComposedCheckpoint.Status.READY
    ).first()
    files = CheckpointFile.objects.filter(checkpoint=done, path__startswith="base/") if done else None
    known = files.aggregate(size=Sum("blob__size"))["size"] if files is not None else None
    if known:
        return Size(known, known)
    return _about(*(_weights(library) * each for each in BYTES_OF_A_WEIGHT))


def _weights(library: Library) -> int:
    """About how many numbers a base has: its layers and its vocabulary."""
    spec, modules = library.base_spec or {}, _modules(library)
    width: int = min((module["d_in"] for module in modules), default=0)
    layers: int = sum(module["d_in"] * module["d_out"] for module in modules)
    return layers + int(spec.get("vocabulary", 0)) * width


def _rounded(library: Library, whole: int, bits: int) -> int:
    """What so many bytes of a base are in fewer bits. How it stores a weight shows in how large it is."""
    half, full = BYTES_OF_A_WEIGHT
    each = full if whole * 2 > _weights(library) * (half + full) else half
    return max(0, whole - saved(_modules(library), bits, each=each))


def _about(least: int, most: int) -> Size:
    return Size(least, round(most * SLACK))
