"""Who speaks where, as a page shows it: a few texts to choose from, and a table that is a heat-map."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms
from django.core.cache import cache

from hub.evaluations.experts import known_experts
from hub.library.models import Library
from hub.library.permissions import Visitor
from hub.library.policy import MOST_EXPERTS_PER_TOKEN, ROUTERS
from hub.playground import speakers
from hub.playground.speakers import Heard

LONGEST = 4_000
MOST_ROWS = 24
STEPS = 10  # of colour
SECONDS_KEPT = 3_600
PRIVATE = "an expert that is private now"
OWN = "own"
STORY = (
    "The lighthouse keeper counted the boats each evening and wrote the number in a book. One night there "
    "was a boat more than had gone out in the morning, and nobody in the village knew whose it was."
)
INSTRUCTIONS = (
    "Wash the rice until the water is clear. Put it into a pot with one and a half times as much water, "
    "bring it to the boil, cover it, and leave it on a low flame for twelve minutes. Then let it rest."
)
PROGRAM = """\
def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / len(values) if values else 0.0
"""
QUESTIONS = """\
Q: How many days has a leap year?
A: 366.
Q: What is the plural of mouse?
A: mice.
Q: Which is larger, 0.3 or 1/3?
A: 1/3.
"""
TEXTS: Mapping[str, tuple[str, str]] = {
    "story": ("A story", STORY),
    "instructions": ("Instructions", INSTRUCTIONS),
    "code": ("A program", PROGRAM),
    "questions": ("Questions and answers", QUESTIONS),
}


class TextForm(forms.Form):
    """What is to be read, and how it is routed."""

    text = forms.ChoiceField(
        label="Text",
        choices=[*((name, title) for name, (title, _) in TEXTS.items()), (OWN, "A text of your own")],
        initial="story",
        widget=forms.RadioSelect,
    )
    own = forms.CharField(
        label="Your text",
        max_length=LONGEST,
        required=False,
        strip=False,
        help_text="It goes to the serving process and is not kept.",
        widget=forms.Textarea(attrs={"rows": 4, "dir": "auto", "autocomplete": "off"}),
    )
    router = forms.ChoiceField(
        label="Router",
        choices=[("", "As the library answers"), *((name, name) for name in ROUTERS)],
        required=False,
        help_text="A router of your choice looks at each token among all experts.",
    )
    top_k = forms.IntegerField(
        label="Experts for each token", required=False, min_value=1, max_value=MOST_EXPERTS_PER_TOKEN
    )

    def clean(self) -> dict[str, Any]:
        said: dict[str, Any] = super().clean() or {}
        if said.get("text") == OWN and not said.get("own", "").strip():
            self.add_error("own", "Write what is to be read.")
        return said

    def chosen(self) -> str:
        name: str = self.cleaned_data["text"]
        return str(self.cleaned_data["own"]) if name == OWN else TEXTS[name][1]

    def routing(self) -> dict[str, Any]:
        """What of the policy is another one: with a router of one's own no prompt is narrowed first."""
        said = self.cleaned_data
        other = {"router": said["router"], "shortlist": 0} if said["router"] else {}
        return {**other, **({"top_k": said["top_k"]} if said["top_k"] else {})}


@dataclass(frozen=True)
class Cell:
    """How much an expert was heard at a layer: in percent, and as one of the steps of colour."""

    percent: float
    step: int


@dataclass(frozen=True)
class Row:
    """`name` is empty for experts together, and for one that the visitor may not know of."""

    name: str
    title: str
    mean: float
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Table:
    heard: Heard
    rows: Sequence[Row]


def table(form: TextForm, *, library: Library, visitor: Visitor, address: str) -> Table:
    """The same question is answered from memory for an hour. Raises what asking raises."""
    text, routing = form.chosen(), form.routing()
    served = library.current.manifest if library.current else ""
    asked = repr((library.pk, served, text, sorted(routing.items())))
    key = f"speakers-{hashlib.sha256(asked.encode()).hexdigest()}"
    found: Heard | None = cache.get(key)
    if found is None:
        found = speakers.listen(text, routing, library=library, visitor=visitor, address=address)
        cache.set(key, found, SECONDS_KEPT)
    return Table(found, _rows(found, known_experts(found.weights, visitor, library)))


def _rows(found: Heard, known: set[str]) -> list[Row]:
    """Who was heard most comes first; those with little are one row, and the plain base has the rest."""
    means = {name: _mean(by_layer) for name, by_layer in found.weights.items()}
    order = sorted(means, key=lambda name: (-means[name], name))
    rows = [
        _row(name if name in known else "", name if name in known else PRIVATE, found.weights[name], found)
        for name in order[:MOST_ROWS]
    ]
    if few := order[MOST_ROWS:]:
        together = {layer: sum(found.weights[name][layer] for name in few) for layer in found.layers}
        rows.append(_row("", f"{len(few)} others", together, found))
    base = {
        layer: max(0.0, 1.0 - sum(by_layer[layer] for by_layer in found.weights.values()))
        for layer in found.layers
    }
    return [*rows, _row("", "the plain base", base, found)]


def _row(name: str, title: str, weights: Mapping[int, float], found: Heard) -> Row:
    cells = [
        Cell(100 * weights[layer], min(STEPS, round(STEPS * weights[layer] + 0.4))) for layer in found.layers
    ]
    return Row(name, title, 100 * _mean(weights), cells)


def _mean(by_layer: Mapping[int, float]) -> float:
    return sum(by_layer.values()) / len(by_layer) if by_layer else 0.0
