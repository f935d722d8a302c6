"""The leaderboard of a library: every way to answer, at every version that was measured with one suite."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, QueryDict

from hub.errors import NotFound
from hub.evaluations import queries
from hub.evaluations.experts import known_experts, visible_rows
from hub.evaluations.models import Evaluation
from hub.evaluations.queries import Board
from hub.library.models import Library
from hub.library.permissions import Visitor

A_PAGE = 60
MOST_VERSIONS = 30  # of a board, the newest
BAR, BAR_EDGE = 140.0, 6.0
NAMES = {"base": "The base", "policy": "The library\N{RIGHT SINGLE QUOTATION MARK}s policy"}


@dataclass(frozen=True)
class Bar:
    """An interval on the scale that all of a table share; nought is where the base is."""

    low: float
    high: float
    at: float
    nought: float
    width: float = BAR


@dataclass(frozen=True)
class Line:
    """One way to answer at one version."""

    name: str
    kind: str
    evaluation: Evaluation
    mean: float
    above_base: float
    low: float
    high: float
    bar: Bar

    @property
    def version(self) -> int:
        return self.evaluation.version.number


@dataclass(frozen=True)
class Column:
    """A heading by which the table is sorted: how it is now, and the address that sorts by it."""

    name: str
    title: str
    query: str
    order: str
    is_number: bool


@dataclass(frozen=True)
class Choice:
    """A board to choose."""

    board: Board
    query: str
    is_chosen: bool


KEYS: dict[str, Callable[[Line], Any]] = {
    "way": lambda line: (line.name.lower(), -line.version),
    "version": lambda line: (line.version, line.mean),
    "mean": lambda line: (line.mean, line.version),
    "above": lambda line: (line.above_base, line.version),
}
TITLES = {
    "way": "Who answers",
    "version": "Version",
    "mean": "Mean",
    "above": "Above the base, 95 % interval",
}
RISING = {"way"}  # what begins at its least when it is first chosen; of figures the largest comes first


def board_page(request: HttpRequest, library: Library) -> dict[str, Any]:
    """Raises NotFound."""
    boards = queries.boards(library)
    if not boards:
        return {"library": library, "boards": []}
    board = _chosen(request.GET, boards)
    found = list(queries.on_board(library, board)[:MOST_VERSIONS])
    said = request.GET.get("sort", "-mean")
    sort = said if said.removeprefix("-") in KEYS else "-mean"
    lines = list(_lines(found, known_to(found, request.user)))
    lines.sort(key=KEYS[sort.removeprefix("-")], reverse=sort.startswith("-"))
    return {
        "library": library,
        "board": board,
        "boards": [Choice(one, _query(one), one == board) for one in boards],
        "columns": [_column(name, sort, board) for name in KEYS],
        "page": Paginator(lines, A_PAGE).get_page(request.GET.get("page")),
        "versions": len(found),
        "most_versions": MOST_VERSIONS,
        "more": "&" + _query(board, sort=sort),
    }


def bars(spans: Sequence[tuple[float, float, float]], scale: tuple[float, float] = (0.0, 0.0)) -> list[Bar]:
    """For (low, high, at) of each row; the scale that all share holds all of them, and nought."""
    least = min([0.0, scale[0], *(low for low, _, _ in spans)])
    most = max([0.0, scale[1], *(high for _, high, _ in spans)])

    def place(value: float) -> float:
        share = (value - least) / (most - least) if most > least else 0.5
        return round(BAR_EDGE + share * (BAR - 2 * BAR_EDGE), 1)

    return [Bar(place(low), place(high), place(at), place(0.0)) for low, high, at in spans]


def known_to(found: Sequence[Evaluation], visitor: Visitor) -> set[str]:
    """Of the single experts that evaluations of one library show, those that the visitor may know of."""
    names = {row["variant"] for one in found for row in one.shown if row["kind"] == "expert"}
    return known_experts(names, visitor, found[0].version.library) if names else set()


def _lines(found: Sequence[Evaluation], known: set[str]) -> Iterator[Line]:
    pairs = [(one, row) for one in found for row in visible_rows(one.shown, known)]
    drawn = bars([(row["low"], row["high"], row["above_base"]) for _, row in pairs])
    for (one, row), bar in zip(pairs, drawn, strict=True):
        yield Line(
            NAMES.get(row["kind"], row["variant"]),
            row["kind"],
            one,
            row["mean"],
            row["above_base"],
            row["low"],
            row["high"],
            bar,
        )


def _chosen(said: QueryDict, boards: Sequence[Board]) -> Board:
    """The first where none is named. Raises NotFound."""
    if "suite" not in said:
        return boards[0]
    wanted = (said["suite"], said.get("limit", ""))
    for board in boards:
        if (board.suite, str(board.limit or "")) == wanted:
            return board
    raise NotFound(f"Nothing was measured here with the suite {wanted[0][:80]!r}.")


def _query(board: Board, **more: str) -> str:
    query = QueryDict(mutable=True)
    query["suite"] = board.suite
    if board.limit:
        query["limit"] = str(board.limit)
    query.update(more)
    return query.urlencode()


def _column(name: str, sort: str, board: Board) -> Column:
    now = sort.removeprefix("-") == name
    falls = sort.startswith("-") if now else False
    next_sort = name if (falls if now else name in RISING) else f"-{name}"
    order = ("descending" if falls else "ascending") if now else ""
    return Column(name, TITLES[name], _query(board, sort=next_sort), order, name != "way")
