"""One evaluation in full: each way to answer at each member of the suite, and all ways at one member."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest

from hub.errors import NotFound
from hub.evaluations import queries, questions
from hub.evaluations.experts import known_experts, visible_rows
from hub.evaluations.models import Evaluation
from hub.library.models import Library
from hub.pages.leaderboard import NAMES, bars

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
    scores: tuple[tuple[Way, float], ...]
    best: float
    kept: int  # questions that can be read one by one


def evaluation_page(request: HttpRequest, library: Library, number: int) -> dict[str, Any]:
    """Raises NotFound."""
    found = evaluation_of(library, number)
    known = known_experts(
        [row["variant"] for row in found.rows if row["kind"] == "expert"], request.user, library
    )
    rows = visible_rows(found.rows, known)
    member = request.GET.get("member")
    kept = questions.counts(found)
    context = {"library": library, "evaluation": found, "version": found.version, "kept": kept}
    if member is not None:
        return {**context, **_at_member(request, found, rows, member, kept)}
    ways = _ways(visible_rows(found.shown, known))
    members = [
        _member(name, facts, ways, found.scores, kept.get(name, 0))
        for name, facts in sorted(found.members.items())
    ]
    return {
        **context,
        "ways": ways,
        "rows": _with_bars(visible_rows(found.shown, known)),
        "page": Paginator(members, A_PAGE).get_page(request.GET.get("page")),
    }


def evaluation_of(library: Library, number: int) -> Evaluation:
    """Raises NotFound."""
    found = queries.evaluation(number)
    if found.version.library_id != library.pk:
        raise NotFound(f"There is no evaluation {number} of {library.slug}.")
    return found


def _at_member(
    request: HttpRequest,
    found: Evaluation,
    rows: Sequence[Mapping[str, Any]],
    member: str,
    kept: Mapping[str, int],
) -> dict[str, Any]:
    """Every way, single experts too, by how it did at one member. Raises NotFound."""
    facts = found.members.get(member)
    if facts is None:
        raise NotFound(f"The suite {found.suite} has no member {member[:80]!r}.")
    scored = [(found.scores[row["variant"]][member], way_of(row)) for row in rows]
    scored.sort(key=lambda pair: (-pair[0], pair[1].name))
    return {
        "member": member,
        "facts": facts,
        "count": kept.get(member, 0),
        "page": Paginator(scored, A_PAGE).get_page(request.GET.get("page")),
    }


def way_of(row: Mapping[str, Any]) -> Way:
    """A row's way as pages call it."""
    return Way(NAMES.get(row["kind"], row["variant"]), row["kind"], row["variant"])


def _ways(rows: Sequence[Mapping[str, Any]]) -> list[Way]:
    return [way_of(row) for row in rows[:MOST_WAYS]]


def _with_bars(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Way, Mapping[str, Any], Any]]:
    drawn = bars([(row["low"], row["high"], row["above_base"]) for row in rows])
    return [(way_of(row), row, bar) for row, bar in zip(rows, drawn, strict=True)]


def _member(
    name: str,
    facts: Mapping[str, Any],
    ways: Sequence[Way],
    scores: Mapping[str, Mapping[str, float]],
    kept: int,
) -> Member:
    values = tuple((way, scores[way.variant][name]) for way in ways)
    best = max(score for _, score in values)
    return Member(name, facts["metric"], facts["questions"], facts["held_out"], values, best, kept)
