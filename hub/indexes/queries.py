"""What a library's versions hold, and how two of them differ."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from django.db.models import F, OuterRef, Q, QuerySet, Subquery
from django.db.models.fields.json import KeyTransform
from django.utils import timezone

from hub.adapters import gates
from hub.adapters.models import Release
from hub.errors import Disabled, NotFound
from hub.indexes.models import (
    ComposedCheckpoint,
    IndexMember,
    IndexVersion,
    Membership,
    PromptClassifier,
)
from hub.library.models import Library


@dataclass(frozen=True)
class Diff:
    """What became of a library between two versions. Each list is sorted by adapter."""

    added: list[Release]
    removed: list[Release]
    changed: list[tuple[IndexMember, IndexMember]]


# What says that a member is another one, and what it is called.
COMPARED = (
    *("release", "release__number", "release__commit__oid"),
    *("release__adapter__name", "release__adapter__owner__username"),
    *("gates__number", "profile_digest", "profile_size"),
)


class Named(NamedTuple):
    """A member of a version by its names: `owner/name`, the release's commit, its number."""

    adapter: str
    oid: str
    number: int


def experts(version: IndexVersion) -> list[Release]:
    """The members of a version, sorted by the code points of `owner/name`: the order of the manifest."""
    return [member.release for member in members(version)]


def members(version: IndexVersion) -> list[IndexMember]:
    """The memberships of a version with all that the manifest says of them, in its order."""
    rows = (
        version.memberships()
        .select_related("release__adapter__owner", "release__commit", "gates")
        .defer("release__findings", "release__statistics", "release__fingerprint", "gates__curve")
    )
    return sorted(rows, key=lambda member: member.release.adapter.full_name)


def named(version: IndexVersion) -> list[Named]:
    """The members of a version in the manifest's order, by names alone: there are thousands."""
    rows = version.memberships().values_list(
        *("release__adapter__owner__username", "release__adapter__name"),
        *("release__commit__oid", "release__number"),
    )
    return sorted(Named(f"{owner}/{name}", oid, number) for owner, name, oid, number in rows)


def desired(library: Library) -> QuerySet[Release]:
    """Who should be in the next version: of each public adapter the newest release that is ready and not held
    back.
    """
    return newest_eligible(library, adapter__private=False)


def newest_eligible(library: Library, **adapters: Any) -> QuerySet[Release]:
    """Of each of these adapters of a library the newest release that is ready and not held back."""
    eligible = Release.objects.filter(
        status=Release.Status.READY,
        yanked_at=None,
        quarantined_at=None,
        adapter__library=library,
        **adapters,
    )
    newest = eligible.filter(adapter=OuterRef("adapter")).order_by("-number").values("pk")[:1]
    return eligible.filter(pk=Subquery(newest))


def desired_members(library: Library) -> set[Membership]:
    """Everybody who should be in the next version, with the gates that the library prefers."""
    chosen = gates.preferred(library).values("pk")[:1]
    rows = desired(library).annotate(chosen_gates=Subquery(chosen))
    return {
        Membership(*row) for row in rows.values_list("pk", "chosen_gates", "profile_digest", "profile_size")
    }


def classifier_of(version: IndexVersion) -> PromptClassifier | None:
    """The classifier of prompts that was trained for a version, if one was."""
    return PromptClassifier.objects.filter(version=version).defer("reliability").first()


def reliability_of(library: Library, full_name: str) -> tuple[int, list[dict[str, Any]], bool] | None:
    """Of the newest published version that has a classifier: its number, how reliable that is about this
    adapter (nothing if it does not know it), and whether that was recorded at all. None if none has one.

    Only the adapter's own part is read, however many the classifier knows.
    """
    known = PromptClassifier.objects.filter(version__in=published(library)).order_by("-version__number")
    parts = known.annotate(part=KeyTransform(full_name, "reliability"))
    row = parts.annotate(recorded=Q(reliability__isnull=False)).values_list(
        "version__number", "part", "recorded"
    )
    found = row.first()
    return None if found is None else (found[0], found[1] or [], bool(found[2]))


def lacking(version: IndexVersion, router: str) -> str:
    """What a version has not that this router needs; empty where it can route."""
    if router == "phatgoose" and not version.memberships().exclude(gates=None).exists():
        return f"phatgoose routes by gates, and no expert of version {version.number} has any"
    if router == "classifier" and classifier_of(version) is None:
        return f"no classifier of prompts was trained for version {version.number}"
    if router in {"retrieval", "lm"} and not version.memberships().exclude(profile_digest="").exists():
        return (
            f"{router} compares prompts with introductions, and no expert of version {version.number} has one"
        )
    return ""


def open_members(library: Library) -> QuerySet[IndexMember]:
    """The memberships that last: those of the newest version, planned or published."""
    return IndexMember.objects.filter(library=library, until=None)


def published(library: Library) -> QuerySet[IndexVersion]:
    return IndexVersion.objects.filter(library=library, status=IndexVersion.Status.PUBLISHED)


def version(library: Library, number: int) -> IndexVersion:
    """A published version by its number. Raises NotFound."""
    found = published(library).filter(number=number).select_related("library").first()
    if found is None:
        raise NotFound(f"{library.slug} has no index version {number}")
    return found


def held_back(version: IndexVersion) -> QuerySet[Release]:
    """Members that are in quarantine now: a version that has any may not be served."""
    return version.members().exclude(quarantined_at=None)


def held_back_spans(library: Library) -> list[tuple[str, int, int]]:
    """Experts in quarantine by name, and which versions have them: from a number to before another.

    No version that is planned from now on has them, so what has no end yet ends behind the newest.
    """
    last = newest(library)
    end = 1 if last is None else last.number + 1
    members = IndexMember.objects.filter(library=library).exclude(release__quarantined_at=None)
    rows = members.select_related("release__adapter__owner").order_by("since", "pk")
    return [
        (member.release.adapter.full_name, member.since, end if member.until is None else member.until)
        for member in rows
    ]


def diff(old: IndexVersion, new: IndexVersion) -> Diff:
    """Compare two versions of one library, in either order. Members of both are not read."""
    before = {member.release.adapter_id: member for member in _not_in(new, old)}
    after = {member.release.adapter_id: member for member in _not_in(old, new)}
    return Diff(
        added=[member.release for key, member in after.items() if key not in before],
        removed=[member.release for key, member in before.items() if key not in after],
        changed=[
            (before[key], member)
            for key, member in after.items()
            if key in before and before[key].identity != member.identity
        ],
    )


def _not_in(one: IndexVersion, other: IndexVersion) -> list[IndexMember]:
    """The memberships of another version that one has not, sorted by adapter."""
    rows = other.memberships().exclude(pk__in=one.memberships().values("pk"))
    shown = rows.select_related("release__adapter__owner", "release__commit", "gates").only(*COMPARED)
    return sorted(shown, key=lambda member: member.release.adapter.full_name)


def newest(library: Library) -> IndexVersion | None:
    """The version with the highest number, planned or published."""
    return IndexVersion.objects.filter(library=library).order_by(F("number").desc()).first()


def checkpoint(checkpoint_id: int) -> ComposedCheckpoint:
    """Raises NotFound."""
    checkpoints = ComposedCheckpoint.objects.select_related("library", "version", "requested_by")
    found = checkpoints.filter(pk=checkpoint_id).first()
    if found is None:
        raise NotFound(f"there is no composed checkpoint {checkpoint_id}")
    return found


def downloadable_checkpoint(checkpoint_id: int) -> ComposedCheckpoint:
    """A checkpoint whose files are there and may be given out. Raises NotFound, Disabled."""
    found = checkpoint(checkpoint_id)
    if found.status != ComposedCheckpoint.Status.READY:
        raise NotFound(
            f"composed checkpoint {checkpoint_id} is {found.status}, so there is nothing to download yet"
        )
    if found.expires_at is not None and found.expires_at <= timezone.now():
        raise NotFound(f"composed checkpoint {checkpoint_id} has expired; request it again")
    chosen = set(found.options.get("experts") or ())
    if any(
        not chosen or release.adapter.full_name in chosen for release in _held_back_by_name(found.version)
    ):
        raise Disabled
    return found


def _held_back_by_name(version: IndexVersion) -> QuerySet[Release]:
    return held_back(version).select_related("adapter__owner")
