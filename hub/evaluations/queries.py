"""Evaluations that stand: those that nobody withdrew."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from django.db.models import F, Max, QuerySet, Window
from django.db.models.functions import RowNumber

from hub.errors import NotFound
from hub.evaluations.models import Evaluation
from hub.indexes.models import IndexVersion
from hub.library.models import Library

MOST_POINTS = 60  # of a library's course, the newest evaluations
MOST_BOARDS = 50


@dataclass(frozen=True)
class Point:
    """How a library's policy did on a suite, as of one version."""

    version: int
    mean: float


@dataclass(frozen=True)
class Course:
    """How a library's policy did on one suite, version by version, asked equally many questions each time."""

    suite: str
    points: tuple[Point, ...]


def courses(libraries: Collection[int]) -> dict[int, Course]:
    """For each of these libraries (by id) that was evaluated its course on the suite that was asked last: one
    read for all of them.
    """
    place = Window(RowNumber(), partition_by=F("version__library"), order_by=F("pk").desc())
    standing = Evaluation.objects.filter(
        version__library__in=libraries, withdrawn_at=None, policy_mean__isnull=False
    )
    rows = (
        standing.annotate(place=place)
        .filter(place__lte=MOST_POINTS)
        .order_by("-pk")
        .values_list("version__library", "suite", "limit", "version__number", "policy_mean")
    )
    by_library: dict[int, list[tuple[str, int | None, int, float]]] = defaultdict(list)
    for library, suite, limit, number, mean in rows:
        if mean is not None:
            by_library[library].append((suite, limit, number, mean))
    return {library: _course(newest_first) for library, newest_first in by_library.items()}


def _course(newest_first: list[tuple[str, int | None, int, float]]) -> Course:
    suite, limit, _, _ = newest_first[0]
    means: dict[int, float] = {}
    for one, questions, number, mean in newest_first:
        if (one, questions) == (suite, limit):
            means.setdefault(number, mean)
    return Course(suite, tuple(Point(number, means[number]) for number in sorted(means)))


@dataclass(frozen=True)
class Board:
    """Evaluations that may be compared: of one suite, with as many questions of each task (None: all)."""

    suite: str
    limit: int | None


def boards(library: Library) -> list[Board]:
    """What a library was measured with, the last first."""
    standing = Evaluation.objects.filter(version__library=library, withdrawn_at=None)
    kinds = standing.order_by().values("suite", "limit").annotate(last=Max("pk")).order_by("-last")
    return [Board(suite, limit) for suite, limit in kinds.values_list("suite", "limit")[:MOST_BOARDS]]


def on_board(library: Library, board: Board) -> QuerySet[Evaluation]:
    """Of each version the newest evaluation of this suite; the newest version first."""
    standing = Evaluation.objects.filter(
        version__library=library, withdrawn_at=None, suite=board.suite, limit=board.limit
    )
    last = standing.order_by().values("version").annotate(newest=Max("pk")).values("newest")
    return _listed().filter(pk__in=last).order_by("-version__number")


def of_version(version: IndexVersion) -> QuerySet[Evaluation]:
    """All of a version's, newest first."""
    return _listed().filter(version=version).order_by("-pk")


def newest(library: Library) -> QuerySet[Evaluation]:
    """Of each version and suite the newest one; the newest version first."""
    standing = Evaluation.objects.filter(version__library=library, withdrawn_at=None)
    last = standing.order_by().values("version", "suite").annotate(newest=Max("pk")).values("newest")
    return _listed().filter(pk__in=last).order_by("-version__number", "suite")


def evaluation(evaluation_id: int) -> Evaluation:
    """One with all its scores. Raises NotFound."""
    standing = Evaluation.objects.filter(withdrawn_at=None).select_related("version__library", "by")
    found = standing.filter(pk=evaluation_id).first()
    if found is None:
        raise NotFound(f"there is no evaluation {evaluation_id}")
    return found


def _listed() -> QuerySet[Evaluation]:
    standing = Evaluation.objects.filter(withdrawn_at=None)
    heavy = ("scores", "members", "version__library__base_spec")
    return standing.select_related("version__library", "by").defer(*heavy)
