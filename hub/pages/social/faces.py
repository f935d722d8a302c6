"""What a social card says, as plain values: all that a picture is drawn from, and what it is known by."""

import hashlib
from dataclasses import dataclass

LOOK = 1  # of the drawing; another one makes other pictures of the same values


@dataclass(frozen=True)
class Figure:
    """A number as it is written, and what it counts."""

    value: str
    label: str


@dataclass(frozen=True)
class Course:
    """Values in order, drawn from the least to the most; at least two."""

    caption: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Face:
    """One card. `kind` is the word in its corner."""

    kind: str
    title: str
    under: str = ""
    figures: tuple[Figure, ...] = ()
    course: Course | None = None

    @property
    def digest(self) -> str:
        """Equal for equal pictures."""
        return hashlib.sha256(f"{LOOK} {self!r}".encode()).hexdigest()
