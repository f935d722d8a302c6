"""Charts as numbers that a template draws in SVG: no script, no style, readable by a screen reader.

Across, everything is in percent of the room that there is; down, in pixels. So letters are as large on a
telephone as elsewhere, and only what lies between them becomes narrower.

What is drawn is an expert's statistics: per target module its singular values and the norm of its update.
What was not finite became null on its way here and counts as nothing.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

LAYER = re.compile(r"(?:^|\.)(\d+)(?:\.|$)")
COLOURS = 7
HEIGHT, TOP, BOTTOM = 260, 10, 228  # pixels
LEFT, RIGHT = 2.0, 98.0  # percent
LETTER = 7.2  # pixels of a letter of a label, about
LABELS, FEW_LABELS = 12, 6
CELL, GAP = 22, 0.06  # how high a cell is, and which part of its width is left free
WIDEST_CELL = 12.0  # percent
MOST_SPECTRUM = 64


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Line:
    name: str
    colour: int
    path: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class LineChart:
    """Lines over labels in equal steps. A line's path is in percent across and in pixels down."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    height: int = HEIGHT
    label_y: int = BOTTOM + 20

    @property
    def is_crowded(self) -> bool:
        """Whether every other label is too many for a telephone."""
        return len(self.x_ticks) > FEW_LABELS

    @property
    def label_width(self) -> int:
        """Room for what stands beside the lines, in pixels."""
        return round(max(len(tick.label) for tick in self.y_ticks) * LETTER)


@dataclass(frozen=True)
class Cell:
    x: float
    opacity: str
    label: str
    absent: bool


@dataclass(frozen=True)
class Row:
    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class HeatChart:
    """A row per kind of target module, a column per layer."""

    rows: tuple[Row, ...]
    x_ticks: tuple[Tick, ...]
    cell_width: float
    largest: str
    cell_height: int = CELL


def layer_and_kind(module: str) -> tuple[int, str]:
    """`model.layers.3.self_attn.q_proj` is layer 3, kind `self_attn.q_proj`; no number is layer 0."""
    match = LAYER.search(module)
    return (int(match[1]), module[match.end() :] or module) if match else (0, module)


def spectrum(modules: Mapping[str, Mapping[str, Any]]) -> LineChart | None:
    """Singular values over each module's first; a line is the median over the layers of one kind."""
    by_kind: dict[str, list[list[float]]] = defaultdict(list)
    for name, facts in modules.items():
        sigma = [float(value or 0.0) for value in facts.get("sigma", ())[:MOST_SPECTRUM]]
        if sigma and sigma[0] > 0:
            by_kind[layer_and_kind(name)[1]].append([value / sigma[0] for value in sigma])
    if not by_kind:
        return None
    longest = max(len(sigma) for spectra in by_kind.values() for sigma in spectra)
    lines = tuple(
        _line(kind, _medians(spectra), colour=number % COLOURS + 1, longest=longest)
        for number, (kind, spectra) in enumerate(sorted(by_kind.items()))
    )
    return LineChart(x_ticks=_positions(longest), y_ticks=_fractions(), lines=lines)


def norms(modules: Mapping[str, Mapping[str, Any]]) -> HeatChart | None:
    """The size of the update at each layer and kind, relative to the base's where that is known."""
    return by_layer(
        {name: float(facts.get("relative_norm", facts.get("norm")) or 0.0) for name, facts in modules.items()}
    )


def by_layer(values: Mapping[str, float], *, percent: bool = False) -> HeatChart | None:
    """A value for each target module, by name."""
    grid: dict[str, dict[int, float]] = defaultdict(dict)
    for name, value in values.items():
        layer, kind = layer_and_kind(name)
        grid[kind][layer] = value
    if not grid:
        return None
    layers = max(layer for row in grid.values() for layer in row) + 1
    return _heat(grid, layers=layers, largest=max(values.values()), percent=percent)


def said(value: float, *, percent: bool = False) -> str:
    return f"{value * 100:.3g} %" if percent else f"{value:.3g}"


def _heat(
    grid: Mapping[str, Mapping[int, float]], *, layers: int, largest: float, percent: bool
) -> HeatChart:
    step = min(100 / layers, WIDEST_CELL)
    rows = tuple(
        Row(
            name=kind,
            cells=tuple(
                _cell(kind, layer, row.get(layer), x=layer * step, largest=largest, percent=percent)
                for layer in range(layers)
            ),
        )
        for kind, row in sorted(grid.items())
    )
    every = max(1, math.ceil(layers / LABELS))
    middle = step * (1 - GAP) / 2
    ticks = tuple(Tick(round(layer * step + middle, 2), str(layer)) for layer in range(0, layers, every))
    return HeatChart(
        rows=rows,
        x_ticks=ticks,
        cell_width=round(step * (1 - GAP), 3),
        largest=said(largest, percent=percent),
    )


def _cell(kind: str, layer: int, value: float | None, *, x: float, largest: float, percent: bool) -> Cell:
    if value is None:
        return Cell(round(x, 3), "1", f"layer {layer}, {kind}: not touched", absent=True)
    opacity = 0.12 + 0.88 * (value / largest if largest > 0 else 0.0)
    label = f"layer {layer}, {kind}: {said(value, percent=percent)}"
    return Cell(round(x, 3), f"{opacity:.2f}", label, absent=False)


def _medians(spectra: Sequence[Sequence[float]]) -> list[float]:
    longest = max(len(sigma) for sigma in spectra)
    return [median(sigma[i] for sigma in spectra if len(sigma) > i) for i in range(longest)]


def _line(name: str, values: Sequence[float], *, colour: int, longest: int) -> Line:
    dots = tuple(
        Dot(_x(i, longest), _y(value), f"{name}: singular value {i + 1} is {value:.2f} of the first")
        for i, value in enumerate(values)
    )
    return Line(
        name,
        colour,
        " ".join(f"{dot.x},{dot.y}" for dot in dots),
        dots if longest <= MOST_SPECTRUM // 2 else (),
    )


def _x(position: int, longest: int) -> float:
    return round(LEFT + position * (RIGHT - LEFT) / max(1, longest - 1), 2)


def _y(fraction: float) -> float:
    return round(BOTTOM - fraction * (BOTTOM - TOP), 1)


def _positions(longest: int) -> tuple[Tick, ...]:
    every = max(1, math.ceil(longest / LABELS))
    return tuple(Tick(_x(i, longest), str(i + 1)) for i in range(0, longest, every))


def _fractions() -> tuple[Tick, ...]:
    return tuple(Tick(_y(tenths / 10), f"{tenths / 10:g}") for tenths in (0, 2, 4, 6, 8, 10))
