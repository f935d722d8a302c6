"""Sparklines: how a figure went over the versions of a library, as small as a word."""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.evaluations.queries import Course, Point

WIDTH, HEIGHT, EDGE = 160, 36, 5


@dataclass(frozen=True)
class Sparkline:
    """A line through all versions that were measured, in equal steps; `said` is for screen readers."""

    path: str
    last_x: float
    last_y: float
    last: float
    suite: str
    said: str
    width: int = WIDTH
    height: int = HEIGHT


def of_course(course: Course) -> Sparkline:
    """Low is the least that was measured, high the most: a sparkline shows a course, not sizes."""
    points = course.points
    places = [(_x(place, len(points)), _y(point.mean, points)) for place, point in enumerate(points)]
    return Sparkline(
        path=" ".join(f"{x},{y}" for x, y in places) if len(places) > 1 else "",
        last_x=places[-1][0],
        last_y=places[-1][1],
        last=points[-1].mean,
        suite=course.suite,
        said=_said(points),
    )


def _said(points: Sequence[Point]) -> str:
    first, last = points[0], points[-1]
    after = f"{last.mean:.3f} at version {last.version}"
    return after if len(points) == 1 else f"from {first.mean:.3f} at version {first.version} to {after}"


def _x(place: int, count: int) -> float:
    return round(EDGE + place * (WIDTH - 2 * EDGE) / max(1, count - 1), 1) if count > 1 else WIDTH - EDGE


def _y(mean: float, points: Sequence[Point]) -> float:
    least, most = min(point.mean for point in points), max(point.mean for point in points)
    share = (mean - least) / (most - least) if most > least else 0.5
    return round(HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE), 1)
