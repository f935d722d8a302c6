"""One evaluation in full: each way to answer at each member of the suite, and all ways at one member."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest

from hub.errors import NotFound
from hub.evaluations import queries
from hub.evaluations.models import Evaluation
from hub.library.models import Library
from hub.pages.leaderboard import NAMES, bars, known_experts, visible_rows

A_PAGE = 100
MOST_WAYS = 16  # columns of the table of all members


@dataclass(frozen=True)
class Way:
    name: str
    kind: str
    variant: str


@dataclass(frozen=True)
class Member:
    """A row of the table: a member of the suite with the score of each way; the best of them stands out."""

    name: str
    metric: str
    questions: int
    held_out: bool
    scores: tuple[float, ...]
    best: float


def evaluation_page(request: HttpRequest, library: Library, number: int) -> dict[str, Any]:
    """Raises NotFound."""
    found = queries.evaluation(number)
    if found.version.library_id != library.pk:
        raise NotFound(f"There is no evaluation {number} of {library.slug}.")
    known = known_experts(
        [row["variant"] for row in found.rows if row["kind"] == "expert"], request.user, library
    )
    rows = visible_rows(found.rows, known)
    member = request.GET.get("member")
    context = {"library": library, "evaluation": found, "version": found.version}
    if member is not None:
        return {**context, **_at_member(request, found, rows, member)}
    ways = _ways(visible_rows(found.shown, known))
    members = [_member(name, facts, ways, found.scores) for name, facts in sorted(found.members.items())]
    return {
        **context,
        "ways": ways,
        "rows": _with_bars(visible_rows(found.shown, known)),
        "page": Paginator(members, A_PAGE).get_page(request.GET.get("page")),
    }


def _at_member(
    request: HttpRequest, found: Evaluation, rows: Sequence[Mapping[str, Any]], member: str
) -> dict[str, Any]:
    """Every way, single experts too, by how it did at one member. Raises NotFound."""
    facts = found.members.get(member)
    if facts is None:
        raise NotFound(f"The suite {found.suite} has no member {member[:80]!r}.")
    scored = [(found.scores[row["variant"]][member], _way(row)) for row in rows]
    scored.sort(key=lambda pair: (-pair[0], pair[1].name))
    return {
        "member": member,
        "facts": facts,
        "page": Paginator(scored, A_PAGE).get_page(request.GET.get("page")),
    }


def _way(row: Mapping[str, Any]) -> Way:
    return Way(NAMES.get(row["kind"], row["variant"]), row["kind"], row["variant"])


def _ways(rows: Sequence[Mapping[str, Any]]) -> list[Way]:
    return [_way(row) for row in rows[:MOST_WAYS]]


def _with_bars(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Way, Mapping[str, Any], Any]]:
    drawn = bars([(row["low"], row["high"], row["above_base"]) for row in rows])
    return [(_way(row), row, bar) for row, bar in zip(rows, drawn, strict=True)]


def _member(
    name: str, facts: Mapping[str, Any], ways: Sequence[Way], scores: Mapping[str, Mapping[str, float]]
) -> Member:
    values = tuple(scores[way.variant][name] for way in ways)
    return Member(name, facts["metric"], facts["questions"], facts["held_out"], values, max(values))
