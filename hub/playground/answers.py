"""A whole answer as a page shows it: tokens with the expert that led, who led how often, and where."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hub.playground.events import Ended, Event, Heard, Token


@dataclass
class Answer:
    """What came of one question; `trouble` says why it is not whole."""

    tokens: list[Token] = field(default_factory=list)
    experts: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    ended: Ended | None = None
    trouble: str = ""

    @property
    def text(self) -> str:
        return "".join(token.text for token in self.tokens)

    def hear(self, event: Event) -> None:
        """Take one more event."""
        if isinstance(event, Ended):
            self.ended = event
            return
        self._take(event)

    def _take(self, heard: Heard) -> None:
        self.tokens += heard.tokens
        self.experts += heard.experts
        self.modules += heard.modules

    def led(self) -> dict[str, int]:
        """How many tokens each expert led, the most first; the plain base is not named."""
        count = Counter(self.experts[token.expert] for token in self.tokens if token.expert is not None)
        return dict(count.most_common())


@dataclass(frozen=True)
class Cell:
    """Who led at one module over an answer: by number and colour, how strongly (1 to 4), and in words."""

    number: int | None
    colours: str
    strength: int
    words: str


@dataclass(frozen=True)
class Grid:
    """Layers from left to right, kinds of module from top to bottom; None where no expert touches one."""

    layers: Sequence[int]
    rows: Sequence[tuple[str, Sequence[Cell | None]]]


def numbers(answers: Iterable[Answer]) -> dict[str, int]:
    """A number for each expert of several answers: those that led first, in the order in which they did."""
    several = list(answers)
    led = [
        answer.experts[token.expert]
        for answer in several
        for token in answer.tokens
        if token.expert is not None
    ]
    found: dict[str, int] = {}
    for name in (*led, *(name for answer in several for name in answer.experts)):
        found.setdefault(name, len(found) + 1)
    return found


def totals(answer: Answer) -> list[tuple[int | None, float]]:
    """For each module the expert with the most weight over all tokens, and its mean weight in percent.

    The first that was heard leads where several have as much.
    """
    sums: list[Counter[int]] = [Counter() for _ in answer.modules]
    traced = [token for token in answer.tokens if token.modules]
    for token in traced:
        for place, (expert, percent) in enumerate(token.modules):
            if expert is not None:
                sums[place][expert] += percent
    best = [count.most_common(1)[0] if count else (None, 0) for count in sums]
    return [(expert, weight / len(traced)) for expert, weight in best] if traced else []


def strength(percent: float) -> int:
    """From 1 to 4, for as many depths of colour."""
    return min(4, 1 + int(percent // 25))
