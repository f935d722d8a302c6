"""Curves: values over steps or days, as the lines of `hub.pages.charts`, on an axis that fits them."""

import math
from collections.abc import Mapping, Sequence
from datetime import date

from hub.pages.charts import BOTTOM, LABELS, LEFT, RIGHT, TOP, Dot, Line, LineChart, Tick, said

MOST_DOTS = 40
PARTS = 4  # of the axis, about
NICE = (1.0, 2.0, 2.5, 5.0, 10.0)


def curve(labels: Sequence[str], lines: Mapping[str, Sequence[float]], *, percent: bool = False) -> LineChart:
    """A line for each name, a value for each label. From zero where the values are shares (`percent`)."""
    values = [value for line in lines.values() for value in line]
    ticks = _ticks(0.0 if percent else min(values), max(values))
    low, high = ticks[0], ticks[-1]

    def y(value: float) -> float:
        return round(BOTTOM - (value - low) / (high - low) * (BOTTOM - TOP), 1)

    return LineChart(
        x_ticks=_labels(labels),
        y_ticks=tuple(Tick(y(value), said(value, percent=percent)) for value in ticks),
        lines=tuple(
            _line(name, colour, labels, [(value, y(value)) for value in line], percent=percent)
            for colour, (name, line) in enumerate(lines.items(), start=1)
        ),
    )


def day_label(day: date) -> str:
    return f"{day.day} {day:%b}"


def _line(
    name: str, colour: int, labels: Sequence[str], points: Sequence[tuple[float, float]], *, percent: bool
) -> Line:
    dots = tuple(
        Dot(_x(place, len(points)), y, f"{name}, {label}: {said(value, percent=percent)}")
        for place, (label, (value, y)) in enumerate(zip(labels, points, strict=True))
    )
    path = " ".join(f"{dot.x},{dot.y}" for dot in dots)
    return Line(name, colour, path, dots if len(dots) <= MOST_DOTS else ())


def _labels(labels: Sequence[str]) -> tuple[Tick, ...]:
    every = max(1, math.ceil(len(labels) / LABELS))
    return tuple(Tick(_x(place, len(labels)), labels[place]) for place in range(0, len(labels), every))


def _x(place: int, count: int) -> float:
    if count == 1:
        return (LEFT + RIGHT) / 2
    return round(LEFT + place * (RIGHT - LEFT) / (count - 1), 2)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers at and around two values."""
    span = (high - low) or abs(high) or 1.0
    rough = span / PARTS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * power for nice in NICE if nice * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
