"""A library's versions as a timeline: what came in, what went out, who promoted them when."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from hub.adapters.models import Release
from hub.indexes.models import IndexMember, IndexVersion, Promotion
from hub.library.models import Library

MOST_NAMES = 25


@dataclass(frozen=True)
class Change:
    """`before` is what a changed member was: another release, or the same one with other gates."""

    kind: str
    release: Release
    before: Release | None = None

    @property
    def gates_only(self) -> bool:
        """The same release, recognised by new gates."""
        return self.before == self.release


@dataclass(frozen=True)
class Entry:
    """One version: how it differs from the one before, and when it was made the served one."""

    version: IndexVersion
    changes: list[Change]
    more: int
    promotions: list[Promotion]


def entries(library: Library, versions: Sequence[IndexVersion]) -> list[Entry]:
    """Two reads for any number of versions: memberships that begin or end there, and promotions."""
    numbers = [version.number for version in versions]
    came, went = _moves(library, numbers)
    promotions = defaultdict(list)
    for promotion in Promotion.objects.filter(version__in=[v.pk for v in versions]).select_related("by"):
        promotions[promotion.version_id].append(promotion)
    return [
        _entry(version, came[version.number], went[version.number], promotions[version.pk])
        for version in versions
    ]


def _entry(
    version: IndexVersion, came: list[Release], went: list[Release], promotions: list[Promotion]
) -> Entry:
    before = {release.adapter_id: release for release in went}
    after = {release.adapter_id for release in came}
    changes = [
        Change("changed" if release.adapter_id in before else "in", release, before.get(release.adapter_id))
        for release in came
    ]
    changes += [Change("out", release) for release in went if release.adapter_id not in after]
    changes.sort(key=lambda change: change.release.adapter.full_name)
    return Entry(version, changes[:MOST_NAMES], max(0, len(changes) - MOST_NAMES), promotions)


def _moves(
    library: Library, numbers: Sequence[int]
) -> tuple[dict[int, list[Release]], dict[int, list[Release]]]:
    came: dict[int, list[Release]] = defaultdict(list)
    went: dict[int, list[Release]] = defaultdict(list)
    members = (
        IndexMember.objects.filter(Q(since__in=numbers) | Q(until__in=numbers), library=library)
        .select_related("release__adapter__owner", "release__commit")
        .defer("release__findings", "release__statistics", "release__measurements", "release__fingerprint")
    )
    for member in members:
        came[member.since].append(member.release)
        if member.until is not None:
            went[member.until].append(member.release)
    return came, went
