"""A library's versions as a timeline: what came in, what went out, who promoted them when."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, Value
from django.db.models.functions import Concat

from hub.ablations.models import Ablation
from hub.adapters.models import Release
from hub.evaluations import queries as evaluations
from hub.evaluations.experts import visible_rows
from hub.evaluations.models import Evaluation
from hub.indexes.models import IndexMember, IndexVersion, Promotion
from hub.library.models import Library
from hub.library.permissions import Visitor
from hub.pages.leaderboard import known_to

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
class Measured:
    """An evaluation with those of its rows that have room, and that the visitor may know of."""

    evaluation: Evaluation
    rows: Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Entry:
    """One version: how it differs from the one before, when it was made the served one, and what was measured
    of it; `ablated` says whether what each expert contributes was, or is being.
    """

    version: IndexVersion
    changes: list[Change]
    more: int
    promotions: list[Promotion]
    evaluations: list[Measured]
    ablated: bool = False


@dataclass(frozen=True)
class _Move:
    """A membership that begins or ends at a listed version, by its key: there may be thousands in one."""

    member: int
    since: int
    until: int | None
    adapter: int
    name: str


Moves = dict[int, list[_Move]]
Named = tuple[str, int, int | None]  # kind of a change, member, and who it was before


def entries(library: Library, versions: Sequence[IndexVersion], visitor: Visitor) -> list[Entry]:
    """Six reads for any number of versions: memberships that begin or end there, those of them that are
    shown, promotions, of each suite the newest evaluation, which experts in them the visitor may know of, and
    whose contributions were measured.
    """
    numbers = [version.number for version in versions]
    came, went = _moves(library, numbers)
    changed = {number: _changes(came[number], went[number]) for number in numbers}
    members = _members(changed.values())
    promotions = defaultdict(list)
    for promotion in Promotion.objects.filter(version__in=[v.pk for v in versions]).select_related("by"):
        promotions[promotion.version_id].append(promotion)
    measured = _measured(library, versions, visitor)
    ablated = set(
        Ablation.objects.filter(version__in=[v.pk for v in versions]).values_list("version", flat=True)
    )
    return [
        Entry(
            version,
            [
                Change(kind, members[member], None if before is None else members[before])
                for kind, member, before in changed[version.number][:MOST_NAMES]
            ],
            max(0, len(changed[version.number]) - MOST_NAMES),
            promotions[version.pk],
            measured[version.pk],
            version.pk in ablated,
        )
        for version in versions
    ]


def _measured(
    library: Library, versions: Sequence[IndexVersion], visitor: Visitor
) -> Mapping[int, list[Measured]]:
    found = list(evaluations.newest(library).filter(version__in=[v.pk for v in versions])[:MOST_SUITES])
    known = known_to(found, visitor)
    measured = defaultdict(list)
    for one in found:
        measured[one.version_id].append(Measured(one, visible_rows(one.shown, known)))
    return measured


def _changes(came: Sequence[_Move], went: Sequence[_Move]) -> list[Named]:
    """All of them, by name."""
    before = {move.adapter: move.member for move in went}
    after = {move.adapter for move in came}
    found = [
        (move.name, "changed" if move.adapter in before else "in", move.member, before.get(move.adapter))
        for move in came
    ]
    found += [(move.name, "out", move.member, None) for move in went if move.adapter not in after]
    return [(kind, member, was) for _, kind, member, was in sorted(found, key=lambda one: one[0])]


def _moves(library: Library, numbers: Sequence[int]) -> tuple[Moves, Moves]:
    came: Moves = defaultdict(list)
    went: Moves = defaultdict(list)
    rows = IndexMember.objects.filter(
        Q(since__in=numbers) | Q(until__in=numbers), library=library
    ).values_list(
        "pk",
        "since",
        "until",
        "release__adapter",
        Concat("release__adapter__owner__username", Value("/"), "release__adapter__name"),
    )
    for row in rows:
        move = _Move(*row)
        came[move.since].append(move)
        if move.until is not None:
            went[move.until].append(move)
    return came, went


def _members(changed: Iterable[Sequence[Named]]) -> dict[int, IndexMember]:
    """Those that are shown, in full."""
    shown = {pk for named in changed for _, *pks in named[:MOST_NAMES] for pk in pks if isinstance(pk, int)}
    members = IndexMember.objects.filter(pk__in=shown).select_related(
        "release__adapter__owner", "release__commit"
    )
    heavy = ("findings", "statistics", "measurements", "fingerprint")
    return {member.pk: member for member in members.defer(*(f"release__{name}" for name in heavy))}
