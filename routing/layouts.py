"""How the weights of a base's linear layers may lie in memory on a CPU, and what an operator says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

# As torch has it from files; as oneDNN likes it; as `routing.panels` does; the same at half the width, where
# that loses nothing. A layer that cannot have one has the one before it.
Layout = Literal["stored", "onednn", "panels", "halves"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)  # the plainest first
AUTO = "auto"
SHAPE = re.compile(r"(\d+)x(\d+)")


class Shape(NamedTuple):
    """Of a linear layer's matrix, as mathematics has it."""

    d_out: int
    d_in: int

    def __str__(self) -> str:
        return f"{self.d_out}x{self.d_in}"


@dataclass(frozen=True)
class Wanted:
    """The layout that layers are to have, by shape or all alike; None: whichever a trial finds fastest."""

    others: Layout | None = None
    shapes: Mapping[Shape, Layout] = field(default_factory=dict)

    def of(self, shape: Shape) -> Layout | None:
        """What is wanted of layers of this shape."""
        return self.shapes.get(shape, self.others)


def parsed(given: Sequence[str]) -> Wanted:
    """`auto` or a layout, and exceptions such as `2048x768=stored`; ValueError says what is wrong."""
    others: Layout | None = None
    shapes: dict[Shape, Layout] = {}
    for place, one in enumerate(given):
        shape, equals, name = one.rpartition("=")
        found, layout = SHAPE.fullmatch(shape), next((known for known in LAYOUTS if known == name), None)
        if found and layout:
            shapes[Shape(int(found[1]), int(found[2]))] = layout
        elif not equals and not place and (layout or name == AUTO):
            others = layout
        else:
            names = ", ".join((AUTO, *LAYOUTS))
            raise ValueError(
                f"found {one!r}, expected one of {names} first, then OUTxIN=LAYOUT such as 2048x768=stored"
            )
    return Wanted(others, shapes)


def said(layouts: Mapping[Shape, Layout]) -> str:
    """What an operator would say to have exactly these: the most frequent layout, then the exceptions."""
    counts = {layout: sum(one == layout for one in layouts.values()) for layout in LAYOUTS}
    most = max(LAYOUTS, key=lambda layout: counts[layout])
    return " ".join([most, *(f"{shape}={one}" for shape, one in layouts.items() if one != most)])
