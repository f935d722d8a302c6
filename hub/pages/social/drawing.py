"""A social card as a PNG: drawn at twice its size, then halved, which smooths what has edges."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from hub.pages.social import lettering
from hub.pages.social.faces import Course, Face, Figure
from hub.pages.social.lettering import BOLD, REGULAR, font

WIDTH, HEIGHT = 1200, 630
FINE = 2  # times as large while it is drawn
EDGE = 72
BAR = 14
COLOURS = 64

# The light colours of tokens.css: a card is looked at on other people's pages.
PAPER, INK, MUTED, LINE = "#ffffff", "#16211e", "#55635f", "#dde3e0"
ACCENT, FEATHER, SOFT = "#0d6350", "#d9512c", "#e0f0ea"

TITLE_SIZES = (78, 68, 58, 50)
TITLE_LINES = 2
TITLE_TOP, TITLE_STEP = 176, 1.16
UNDER_SIZE = 30
FIGURES_TOP, FIGURE_GAP = 452, 52
CHART = (716, 408, 1128, 508)  # left, top, right, bottom of a course; its caption is below
CAPTION_GAP = 18

SHAFT = [[(4, 28), (28, 4)], [(20, 4), (28, 4), (28, 12)]]
FEATHERS = [
    [(5, 20), (5, 14), (10, 9), (10, 15), (5, 20)],
    [(12, 27), (18, 27), (23, 22), (17, 22), (12, 27)],
]
MARK_AT, MARK_SIZE = (EDGE, 58), 60


class Pen:
    """Draws in the card's own pixels on a picture that has more of them."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (WIDTH * FINE, HEIGHT * FINE), PAPER)
        self._draw = ImageDraw.Draw(self.image)

    def text(self, at: tuple[float, float], text: str, size: int, fill: str, *, bold: bool = False) -> float:
        """Written with its base line at this height; returns where it ends."""
        face = font(BOLD if bold else REGULAR, size * FINE)
        self._draw.text((at[0] * FINE, at[1] * FINE), text, font=face, fill=fill, anchor="ls")
        return at[0] + lettering.width(text, face) / FINE

    def line(self, points: Sequence[tuple[float, float]], fill: str, thick: float) -> None:
        fine = [(x * FINE, y * FINE) for x, y in points]
        self._draw.line(fine, fill=fill, width=round(thick * FINE), joint="curve")
        for x, y in points:
            self.dot((x, y), thick / 2, fill)

    def dot(self, at: tuple[float, float], radius: float, fill: str) -> None:
        self._draw.circle((at[0] * FINE, at[1] * FINE), radius * FINE, fill=fill)

    def area(self, points: Sequence[tuple[float, float]], fill: str) -> None:
        self._draw.polygon([(x * FINE, y * FINE) for x, y in points], fill=fill)


def png(face: Face) -> bytes:
    """1200 by 630 pixels, the shape that other sites make room for; equal bytes for equal faces."""
    pen = Pen()
    _head(pen, face.kind)
    after = _title(pen, face.title)
    if face.under:
        _under(pen, face.under, after)
    room = (CHART[0] if face.course else WIDTH) - EDGE - FIGURE_GAP
    _figures(pen, face.figures, room)
    if face.course:
        _course(pen, face.course)
    pen.area([(0, HEIGHT - BAR), (WIDTH, HEIGHT - BAR), (WIDTH, HEIGHT), (0, HEIGHT)], ACCENT)
    small = pen.image.reduce(FINE).quantize(COLOURS, dither=Image.Dither.NONE)
    kept = io.BytesIO()
    small.save(kept, "PNG", optimize=True)
    return kept.getvalue()


def _head(pen: Pen, kind: str) -> None:
    scale = MARK_SIZE / 32
    for strokes, colour in ((SHAFT, ACCENT), (FEATHERS, FEATHER)):
        for stroke in strokes:
            pen.line(
                [(MARK_AT[0] + x * scale, MARK_AT[1] + y * scale) for x, y in stroke], colour, 2.6 * scale
            )
    end = pen.text((EDGE + MARK_SIZE + 18, 104), "Fletch", 40, INK, bold=True)
    pen.text((end + 18, 104), kind, 28, MUTED)


def _title(pen: Pen, title: str) -> float:
    """Returns the height of its last base line."""
    room = (WIDTH - 2 * EDGE) * FINE
    size = next(
        (
            size
            for size in TITLE_SIZES
            if lettering.fits(
                title, font(BOLD, size * FINE), room, 1 if size == TITLE_SIZES[0] else TITLE_LINES
            )
        ),
        TITLE_SIZES[-1],
    )
    lines = lettering.lines(title, font(BOLD, size * FINE), room, TITLE_LINES)
    height = TITLE_TOP + size * 0.76
    for number, line in enumerate(lines):
        pen.text((EDGE, height + number * size * TITLE_STEP), line, size, INK, bold=True)
    return height + (len(lines) - 1) * size * TITLE_STEP


def _under(pen: Pen, text: str, after: float) -> None:
    said = lettering.cut(text, font(REGULAR, UNDER_SIZE * FINE), (WIDTH - 2 * EDGE) * FINE)
    pen.text((EDGE, after + 58), said, UNDER_SIZE, MUTED)


def _figures(pen: Pen, figures: Sequence[Figure], room: float) -> None:
    """As many as there is room for, the first ones first."""
    x: float = EDGE
    for figure in figures:
        wide = max(_width(figure.value, 46, BOLD), _width(figure.label, 24, REGULAR))
        if x + wide > EDGE + room:
            return
        pen.text((x, FIGURES_TOP + 46), figure.value, 46, INK, bold=True)
        pen.text((x, FIGURES_TOP + 46 + 40), figure.label, 24, MUTED)
        x += wide + FIGURE_GAP


def _width(text: str, size: int, name: str) -> float:
    return lettering.width(text, font(name, size * FINE)) / FINE


def _course(pen: Pen, course: Course) -> None:
    left, _, right, bottom = CHART
    points = list(zip(_across(len(course.values)), _heights(course.values), strict=True))
    pen.area([(left, bottom), *points, (right, bottom)], SOFT)
    pen.line([(left, bottom), (right, bottom)], LINE, 2)
    pen.line(points, ACCENT, 4)
    pen.dot(points[-1], 9, FEATHER)
    caption = lettering.cut(course.caption, font(REGULAR, 24 * FINE), (right - left) * FINE)
    pen.text((left, FIGURES_TOP + 46 + 40), caption, 24, MUTED)


def _across(count: int) -> list[float]:
    left, _, right, _ = CHART
    return [left + place * (right - left) / (count - 1) for place in range(count)]


def _heights(values: Sequence[float]) -> list[float]:
    """The least lies low and the most high: a course, not sizes."""
    _, top, _, bottom = CHART
    least, most = min(values), max(values)
    spread = most - least
    return [
        bottom - CAPTION_GAP - ((value - least) / spread if spread else 0.5) * (bottom - CAPTION_GAP - top)
        for value in values
    ]
