"""Where something was pushed from and what this hub found out about it, as a card's front matter says it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hub.adapters.models import Release
from hub.indexes import queries as indexes
from hub.indexes.models import ComposedCheckpoint
from hub.mirrors import queries as mirrors

ORIGIN = "fletch_origin"
VERDICT = "fletch_verdict"
UNKNOWN, SEVERAL = "unknown", "other"  # words that Hugging Face knows
MOST_NAMED = 200  # experts of a checkpoint, by name


@dataclass(frozen=True)
class Facts:
    """What a card says from now on, and what it says only where its author said nothing."""

    always: Mapping[str, Any]
    unless_said: Mapping[str, Any] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        return str(self.always[ORIGIN])


def of_release(release: Release, hub: str) -> Facts:
    """Its commit here, how far it is, and the licence that came with it."""
    came = mirrors.origin(release)
    return Facts(
        {ORIGIN: f"{hub}/{release.adapter.full_name}@{release.oid}", VERDICT: _verdict(release)},
        {"license": came.licence} if came is not None and came.licence else {},
    )


def _verdict(release: Release) -> dict[str, Any]:
    verdict: dict[str, Any] = {
        "status": release.status,
        "release": release.number,
        "library": release.library.slug,
        "base_digest": release.library.base_digest,
        "warnings": len(release.findings),
    }
    if release.settled_at is not None:
        verdict["settled"] = release.settled_at.date().isoformat()
    if release.yanked_at is not None:
        verdict["withdrawn"] = release.reason or "by its owner"
    return verdict


def of_checkpoint(checkpoint: ComposedCheckpoint, hub: str) -> Facts:
    """Which experts are in it, under which licences; one of its own only where they all have the same."""
    chosen = set(checkpoint.options.get("experts") or ())
    experts = [
        one for one in indexes.experts(checkpoint.version) if not chosen or one.adapter.full_name in chosen
    ]
    came_with = mirrors.licences(checkpoint.version.members())
    licences = [_said(one) or came_with.get(one.pk) or UNKNOWN for one in experts]
    named = [
        {"release": f"{one.adapter.full_name}@{one.oid}", "license": licence}
        for one, licence in zip(experts, licences, strict=True)
    ]
    verdict = {
        "library": checkpoint.library.slug,
        "version": checkpoint.version.number,
        "kind": checkpoint.kind,
        "experts": len(experts),
        "archive_sha256": checkpoint.archive_digest,
    }
    origin = f"{hub}/checkpoints/{checkpoint.pk}"
    return Facts(
        {ORIGIN: origin, VERDICT: verdict, "fletch_experts": named[:MOST_NAMED]},
        {**_base(checkpoint), "license": licences[0] if len(set(licences)) == 1 else SEVERAL},
    )


def _said(release: Release) -> str:
    """The licence that its card names."""
    licence = release.commit.card.get("license")
    return licence if isinstance(licence, str) else ""


def _base(checkpoint: ComposedCheckpoint) -> dict[str, str]:
    """A folder on this machine is nobody's business."""
    library = checkpoint.library
    return {} if library.is_base_local else {"base_model": library.base_source}
