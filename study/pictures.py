"""The study's pictures as plain SVG: no plotting library, equal bytes for equal figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from statistics import mean

from study.speakers import Picture
from study.table import Line

BAR, GAP, LEFT, WIDE, RIGHT = 16, 8, 250, 460, 70
CELL, CORNER, FOOT = 14, 170, 190
INK, FAINT, FILL, MARK = "#1f2933", "#cbd2d9", "#3e7cb1", "#c8553d"
STYLE = f'font-family="sans-serif" font-size="11" fill="{INK}"'
SMALL = f'font-family="sans-serif" font-size="9" fill="{INK}"'


def bar_chart(title: str, lines: Sequence[Line]) -> str:
    """Exact answers by method, best first, each with its interval."""
    parts = [_text(8, 18, title, bold=True)]
    for place, line in enumerate(lines):
        top = 34 + place * (BAR + GAP)
        low, high = (LEFT + WIDE * edge for edge in line.exact_span)
        middle = top + BAR / 2
        parts += [
            _text(LEFT - 6, top + 12, line.method, end=True),
            _box(LEFT, top, WIDE * line.exact, BAR, FILL),
            (
                f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8" '
                f'stroke="{MARK}" fill="none"/>'
            ),
            _text(LEFT + WIDE + 8, top + 12, f"{line.exact:.1%}"),
        ]
    return _drawing(LEFT + WIDE + RIGHT, 40 + len(lines) * (BAR + GAP), title, parts)


def heat_map(title: str, picture: Picture, task: str) -> str:
    """Mean mixing weight by expert (rows) and module (columns, in the order of the pass)."""
    shares = picture.shares[task]
    parts = [_text(8, 18, title, bold=True)]
    for row, expert in enumerate(picture.experts):
        top = 34 + row * CELL
        parts.append(_text(CORNER - 6, top + 11, expert, end=True))
        for column, module in enumerate(picture.modules):
            parts.append(_box(CORNER + column * CELL, top, CELL - 1, CELL - 1, _shade(shares[module][row])))
    bottom = 34 + len(picture.experts) * CELL + 8
    for column, module in enumerate(picture.modules):
        x = CORNER + column * CELL + 4
        parts.append(f'<text transform="translate({x} {bottom}) rotate(60)" {SMALL}>{escape(module)}</text>')
    return _drawing(CORNER + len(picture.modules) * CELL + 120, bottom + FOOT, title, parts)


def entropy_chart(title: str, picture: Picture) -> str:
    """How undecided tokens are from the first routed module to the last: mean entropy in nats."""
    values = [mean(by_module[module] for by_module in picture.entropy.values()) for module in picture.modules]
    highest = max(0.1, *values) if values else 0.1
    wide, high, left = max(300, CELL * len(values)), 160, 60
    points = [
        (left + wide * (place + 0.5) / len(values), 34 + high * (1 - value / highest))
        for place, value in enumerate(values)
    ]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    parts = [
        _text(8, 18, title, bold=True),
        f'<path d="M{left} 34v{high}h{wide}" stroke="{FAINT}" fill="none"/>',
        _text(left - 6, 40, f"{highest:.2f}", end=True),
        _text(left - 6, 34 + high, "0", end=True),
        _text(left, 34 + high + 16, "first module"),
        _text(left + wide, 34 + high + 16, "last", end=True),
        f'<path d="{path}" stroke="{FILL}" stroke-width="2" fill="none"/>',
    ]
    return _drawing(left + wide + 20, 34 + high + 30, title, parts)


def _shade(share: float) -> str:
    """White for nobody, dark for the whole weight."""
    depth = math.sqrt(min(max(share, 0.0), 1.0))
    red, green, blue = (round(255 - (255 - full) * depth) for full in (31, 78, 121))
    return f"#{red:02x}{green:02x}{blue:02x}"


def _text(x: float, y: float, text: str, *, end: bool = False, bold: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" {STYLE}{anchor}{weight}>{escape(text)}</text>'


def _box(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{height}" fill="{colour}"/>'


def _drawing(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img"><title>{escape(title)}</title>'
        '<rect width="100%" height="100%" fill="white"/>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"
