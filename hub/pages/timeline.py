"""A library's versions as a timeline: what came in, what went out, who promoted them when."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from hub.adapters.models import Release
from hub.evaluations import queries as evaluations
from hub.evaluations.models import Evaluation
from hub.indexes.models import IndexMember, IndexVersion, Promotion
from hub.library.models import Library

MOST_NAMES = 25
MOST_SUITES = 100  # on a page, whatever was sent of its versions


@dataclass(frozen=True)
class Change:
    """`before` is what a changed member was: another release, or the same one known by something else."""

    kind: str
    member: IndexMember
    before: IndexMember | None = None

    @property
    def release(self) -> Release:
        return self.member.release

    @property
    def said(self) -> str:
        """Which release, and what it was or by what it is known anew."""
        after, before = self.member, self.before
        number = f"release {after.release.number}"
        if before is None:
            return number
        if before.release_id != after.release_id:
            return f"release {before.release.number} → {after.release.number}"
        return (
            f"{number}, with new gates" if before.gates_id != after.gates_id else f"{number}, introduced anew"
        )


@dataclass(frozen=True)
class Entry:
    """One version: how it differs from the one before, when it was made the served one, and what was measured
    of it.
    """

    version: IndexVersion
    changes: list[Change]
    more: int
    promotions: list[Promotion]
    evaluations: list[Evaluation]


def entries(library: Library, versions: Sequence[IndexVersion]) -> list[Entry]:
    """Three reads for any number of versions: memberships that begin or end there, promotions, and of each
    suite the newest evaluation.
    """
    numbers = [version.number for version in versions]
    came, went = _moves(library, numbers)
    promotions = defaultdict(list)
    for promotion in Promotion.objects.filter(version__in=[v.pk for v in versions]).select_related("by"):
        promotions[promotion.version_id].append(promotion)
    measured = defaultdict(list)
    for one in evaluations.newest(library).filter(version__in=[v.pk for v in versions])[:MOST_SUITES]:
        measured[one.version_id].append(one)
    return [
        Entry(
            version,
            *_changes(came[version.number], went[version.number]),
            promotions[version.pk],
            measured[version.pk],
        )
        for version in versions
    ]


def _changes(came: list[IndexMember], went: list[IndexMember]) -> tuple[list[Change], int]:
    """The first of them by name, and how many more there are."""
    before = {member.release.adapter_id: member for member in went}
    after = {member.release.adapter_id for member in came}
    known = [(member, before.get(member.release.adapter_id)) for member in came]
    changes = [Change("changed" if old else "in", member, old) for member, old in known]
    changes += [Change("out", member) for member in went if member.release.adapter_id not in after]
    changes.sort(key=lambda change: change.release.adapter.full_name)
    return changes[:MOST_NAMES], max(0, len(changes) - MOST_NAMES)


def _moves(
    library: Library, numbers: Sequence[int]
) -> tuple[dict[int, list[IndexMember]], dict[int, list[IndexMember]]]:
    came: dict[int, list[IndexMember]] = defaultdict(list)
    went: dict[int, list[IndexMember]] = defaultdict(list)
    members = (
        IndexMember.objects.filter(Q(since__in=numbers) | Q(until__in=numbers), library=library)
        .select_related("release__adapter__owner", "release__commit")
        .defer("release__findings", "release__statistics", "release__measurements", "release__fingerprint")
    )
    for member in members:
        came[member.since].append(member)
        if member.until is not None:
            went[member.until].append(member)
    return came, went
