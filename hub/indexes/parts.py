"""What a checkpoint would be made of, and about how large it would be, from what is recorded."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Sum
from django.db.models.functions import Coalesce

from hub.indexes.models import CheckpointFile, ComposedCheckpoint, IndexVersion
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
    kinds: tuple[str, ...]


@dataclass(frozen=True)
class Size:
    """Between so many bytes; equal where both are known."""

    least: int
    most: int


def parts(version: IndexVersion) -> list[Part]:
    """One read; sorted by name."""
    rows = version.memberships().values_list(
        "release_id",
        "release__adapter__owner__username",
        "release__adapter__name",
        "release__commit__card__license",
        "release__adapter__gating",
        Coalesce("gates__vectors_size", "release__vectors_size"),
        "release__factors_size",
        "profile_size",
        "release__statistics__summary__kinds",
    )
    return sorted((_part(*row) for row in rows), key=lambda part: part.name)


def size(library: Library, kind: str, chosen: Iterable[Part], *, rank: int) -> Size:
    """Of the archive. Where nobody composed from a base before, its own size is known to a factor of two."""
    chosen = list(chosen)
    if kind == ComposedCheckpoint.Kind.ADAPTER:
        kinds = {name for part in chosen for name in part.kinds}
        widths = sum(
            module["d_in"] + module["d_out"]
            for module in _modules(library)
            if module["name"].rpartition(".")[2] in kinds or not kinds
        )
        whole = round(widths * rank * BYTES_OF_A_FACTOR * SLACK)
        return Size(whole, whole)
    base = _base_size(library)
    if kind == ComposedCheckpoint.Kind.MERGED:
        return base
    experts = sum(part.size for part in chosen)
    return Size(base.least + experts, base.most + experts)


def _part(*row: Any) -> Part:
    release, owner, name, licence, gating, vectors, factors, profile, kinds = row
    return Part(
        release,
        f"{owner}/{name}",
        licence if isinstance(licence, str) else "",
        bool(gating),
        vectors + factors + profile,
        tuple(kinds or ()),
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
    spec, modules = library.base_spec or {}, _modules(library)
    width = min((module["d_in"] for module in modules), default=0)
    weights = sum(module["d_in"] * module["d_out"] for module in modules) + spec.get("vocabulary", 0) * width
    return _about(*(weights * each for each in BYTES_OF_A_WEIGHT))


def _about(least: int, most: int) -> Size:
    return Size(least, round(most * SLACK))
