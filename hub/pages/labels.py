"""Names beside the dots of a map: each where it covers nothing, or, if that is nowhere, only on request."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LETTER, TALL, GAP = 7.2, 16.0, 11.0  # of 13 pixel letters, as wide as most are
LONGEST = 42


@dataclass(frozen=True)
class Label:
    """Where a dot's name stands, and whether there is room for it beside all others."""

    at_left: bool
    has_room: bool


@dataclass(frozen=True)
class _Box:
    left: float
    right: float
    top: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def beside(dots: Sequence[tuple[float, float, str]], *, width: float) -> Iterator[Label]:
    """For dots at x, y with names, in their order: the earlier one has the first choice."""
    taken = [_Box(x - 7, x + 7, y - 7, y + 7) for x, y, _ in dots]
    for number, (x, y, name) in enumerate(dots):
        others = [*taken[:number], *taken[number + 1 :]]
        sides = (x > width / 2, x <= width / 2)
        free = [side for side in sides if _is_free(_box(x, y, name, at_left=side), others, width)]
        if free:
            taken.append(_box(x, y, name, at_left=free[0]))
        yield Label(free[0] if free else sides[0], bool(free))


def _box(x: float, y: float, name: str, *, at_left: bool) -> _Box:
    long = GAP + LETTER * min(len(name), LONGEST)
    left, right = (x - long, x - GAP) if at_left else (x + GAP, x + long)
    return _Box(left, right, y - TALL / 2, y + TALL / 2)


def _is_free(box: _Box, others: Sequence[_Box], width: float) -> bool:
    return box.left >= 0 and box.right <= width and not any(box.meets(other) for other in others)
