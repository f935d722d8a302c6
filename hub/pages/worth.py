"""What an expert is worth: what the library scores with it and without it, where that was measured, and what
evaluations say, alone, suite by suite, and by the version it came with.

Evaluations are not asked once for each expert, so what they say of the library without one is said by the
version before it came, and only with what else changed in between.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import TextField
from django.db.models.functions import Cast

from hub.ablations import queries as ablations
from hub.ablations.models import Contribution
from hub.adapters.models import Adapter, Release
from hub.evaluations import queries as evaluations
from hub.evaluations.models import Evaluation
from hub.indexes.models import IndexMember
from hub.library.models import Library

MOST_SUITES = 12
MOST_EVALUATIONS = 60


@dataclass(frozen=True)
class Alone:
    """How one suite is answered by the base, by this expert alone, and by the whole library."""

    suite: str
    version: int
    expert: dict[str, Any]
    base: dict[str, Any] | None
    policy: dict[str, Any] | None


@dataclass(frozen=True)
class Difference:
    """What the library scored in the version that an adapter came with, and in the one before."""

    suite: str
    before: float
    after: float

    @property
    def gain(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Worth:
    """`contributions` are what leaving it out changed, by file of rows; `others` is how many other changes
    came with the same version.
    """

    alone: list[Alone]
    differences: list[Difference]
    since: int | None
    others: int
    contributions: list[Contribution]


def of_release(release: Release) -> Worth:
    """A few questions to the database, however many versions there are."""
    adapter = release.adapter
    first = IndexMember.objects.filter(release__adapter=adapter).order_by("since").first()
    since = first.since if first else None
    differences = list(_differences(release, since)) if since and since > 1 else []
    return Worth(
        _alone(adapter, release.library),
        differences,
        since,
        _others(adapter, since) if differences and since else 0,
        ablations.of_adapter(adapter, MOST_SUITES),
    )


def _alone(adapter: Adapter, library: Library) -> list[Alone]:
    """Of each suite the newest evaluation that asked it alone. The database looks for its name: an evaluation
    has a row for each expert, so only those that are shown are read.
    """
    named = evaluations.newest(library).annotate(said=Cast("rows", TextField()))
    naming = named.filter(said__contains=f'"{adapter.full_name}"').values_list("suite", "pk")
    newest: dict[str, int] = {}
    for suite, pk in naming[:MOST_EVALUATIONS]:
        newest.setdefault(suite, pk)
    shown = list(newest.values())[:MOST_SUITES]
    rows = [_row(one, adapter) for one in evaluations.newest(library).filter(pk__in=shown)]
    return [row for row in rows if row is not None]


def _row(one: Evaluation, adapter: Adapter) -> Alone | None:
    mine = next(
        (row for row in one.rows if row["kind"] == "expert" and row["variant"] == adapter.full_name), None
    )
    if mine is None:
        return None
    return Alone(one.suite, one.version.number, mine, one.row("base"), one.row("policy"))


def _differences(release: Release, since: int) -> Iterable[Difference]:
    """Suites that were asked of both versions in the same way."""
    both = evaluations.newest(release.library).filter(version__number__in=(since - 1, since))
    scores: dict[tuple[str, int | None], dict[int, float]] = {}
    for one in both:
        policy = one.row("policy")
        if policy is not None:
            scores.setdefault((one.suite, one.limit), {})[one.version.number] = policy["mean"]
    for (suite, _limit), means in sorted(scores.items(), key=lambda item: item[0][0]):
        if since - 1 in means and since in means:
            yield Difference(suite, means[since - 1], means[since])


def _others(adapter: Adapter, since: int) -> int:
    """How many other adapters came, went or changed in the same version."""
    moves = IndexMember.objects.filter(library=adapter.library_id).exclude(release__adapter=adapter)
    moved = moves.filter(since=since) | moves.filter(until=since)
    return moved.values("release__adapter").distinct().count()
