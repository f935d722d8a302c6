"""What somebody wrote of a card: trainers save a template with each adapter, which often stays as it is."""

import re
from dataclasses import dataclass

EMPTY = "[More Information Needed]"
OPENS, CLOSES = "<!--", "-->"
FENCES = ("```", "~~~")
HEADING = re.compile(r"(#{1,6})\s")


@dataclass(frozen=True)
class Written:
    """A card's Markdown without comments and without what nobody filled in, and how many places that were."""

    body: str
    unfilled: int


def written(body: str) -> Written:
    """Code stays as it is. Takes time in proportion to the card, whatever is in it."""
    text = "".join(part if fenced else _without_comments(part) for fenced, part in _parts(body))
    lines = [(fenced, line) for fenced, part in _parts(text) for line in part.splitlines(keepends=True)]
    kept = [(fenced, line) for fenced, line in lines if fenced or not line.rstrip().endswith(EMPTY)]
    unfilled = len(lines) - len(kept)
    return Written("".join(_without_bare_headings(kept)) if unfilled else text, unfilled)


def _parts(text: str) -> list[tuple[bool, str]]:
    """Stretches of text in turn, and whether each is fenced code."""
    parts: list[tuple[bool, list[str]]] = [(False, [])]
    fence = ""
    for line in text.splitlines(keepends=True):
        mark = line.lstrip()[:3]
        if not fence and mark in FENCES:
            fence = mark
            parts.append((True, [line]))
        elif fence and mark == fence:
            fence = ""
            parts[-1][1].append(line)
            parts.append((False, []))
        else:
            parts[-1][1].append(line)
    return [(fenced, "".join(lines)) for fenced, lines in parts]


def _without_comments(text: str) -> str:
    kept, at = [], 0
    while (begin := text.find(OPENS, at)) >= 0 and (end := text.find(CLOSES, begin + len(OPENS))) >= 0:
        kept.append(text[at:begin])
        at = end + len(CLOSES)
    return "".join([*kept, text[at:]])


def _without_bare_headings(lines: list[tuple[bool, str]]) -> list[str]:
    """From the end: a heading goes if nothing is left between it and the next that is not below it."""
    kept: list[str] = []
    below = 0  # the level of the heading that comes next, if only blank lines are between; 0 at the end
    bare = True
    for fenced, line in reversed(lines):
        heading = None if fenced else HEADING.match(line)
        if heading is None:
            bare = bare and not line.strip()
        elif bare and below <= len(heading[1]):
            continue
        else:
            bare, below = True, len(heading[1])
        kept.append(line)
    return kept[::-1]
