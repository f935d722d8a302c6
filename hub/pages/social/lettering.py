"""Lettering of social cards: fonts, and how texts are made to fit."""

import re
from functools import cache
from pathlib import Path

from PIL import ImageFont
from PIL.ImageFont import FreeTypeFont

FONTS = Path(__file__).with_name("fonts")
REGULAR, BOLD = "DejaVuSans.ttf", "DejaVuSans-Bold.ttf"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
PLACES_TO_BREAK = re.compile(r"(?<=[-/_. ])")


@cache
def font(name: str, size: int) -> FreeTypeFont:
    """Laid out letter by letter: what runs from right to left or is joined would need another library."""
    return ImageFont.truetype(str(FONTS / name), size, layout_engine=ImageFont.Layout.BASIC)


def width(text: str, face: FreeTypeFont) -> float:
    return float(face.getlength(text))


def cut(text: str, face: FreeTypeFont, room: float) -> str:
    """As much of a text as there is room for."""
    if width(text, face) <= room:
        return text
    while text and width(text + ELLIPSIS, face) > room:
        text = text[:-1]
    return text.rstrip() + ELLIPSIS


def lines(text: str, face: FreeTypeFont, room: float, most: int) -> list[str]:
    """A text over some lines, broken where names have joints; the last is cut where it does not fit."""
    done: list[str] = []
    line = ""
    for part in PLACES_TO_BREAK.split(text):
        if line and width((line + part).rstrip(), face) > room and len(done) < most - 1:
            done.append(line.rstrip())
            line = ""
        line += part
    return [*(cut(one, face, room) for one in done), cut(line.rstrip(), face, room)]


def fits(text: str, face: FreeTypeFont, room: float, most: int) -> bool:
    return not any(line.endswith(ELLIPSIS) for line in lines(text, face, room, most))
