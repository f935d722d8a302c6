"""Why do token routers answer worse than the right expert alone? `python -m study.why --suite ... [--gates]`

Every held-in question has a right expert. For each router: how much mixing weight that expert gets over all
tokens and modules, at how many modules it gets the most, and how many answers are exact. Beside them what
weight alone does: the right expert and some others in equal shares, at every token and module.

Asked with seeds and questions that no table reports, and nothing is chosen by it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from routing.routes import Routing
from study.__main__ import CACHE
from study.answers import Question, Voice, outcomes
from study.library import Library
from study.run import libraries
from study.speakers import Speakers
from study.suite import Suite, read_suite

SEED = 11
ROUTINGS = {
    "uniform": Routing("uniform", top_k=1),
    "arrow, top 3": Routing("arrow", top_k=3),
    "arrow, top 1": Routing("arrow", top_k=1),
    "arrow, top 3, temperature 0.1": Routing("arrow", top_k=3, temperature=0.1),
    "arrow, top 3, calibrated": Routing("arrow", top_k=3, calibrated=True),
    "arrow, top 1, calibrated": Routing("arrow", top_k=1, calibrated=True),
    "spectral, top 4": Routing("spectral", top_k=4),
    "spectral, top 1, calibrated": Routing("spectral", top_k=1, calibrated=True),
    "delta-norm, top 1": Routing("delta-norm", top_k=1),
    "delta-norm, top 1, calibrated": Routing("delta-norm", top_k=1, calibrated=True),
    "two-stage, top 1": Routing("two-stage", top_k=1),
    "phatgoose, top 2": Routing("phatgoose", top_k=2),
    "phatgoose, top 1": Routing("phatgoose", top_k=1),
    "evidence, prior x token": Routing("evidence", top_k=2, prior_weight=3.0),
}
BESIDE = (0, 1, 2, 3)  # so many others in equal shares


@dataclass(frozen=True)
class Row:
    """One way: exact answers, the right expert's weight, and where it has the most of all."""

    name: str
    exact: float
    weight: float
    first: float


def rows(library: Library, asked: Sequence[Question]) -> Iterator[Row]:
    """Every router, then the right expert among others."""
    for name, routing in ROUTINGS.items():
        if routing.router == "phatgoose" and not library.gates:
            continue
        yield _routed(library, name, Voice(library.composed, routing), asked)
        library.say(name)
    for count in BESIDE:
        yield _among(library, count, asked)


def _routed(library: Library, name: str, voice: Voice, asked: Sequence[Question]) -> Row:
    speakers = Speakers(library.suite)
    speakers.listen(voice, asked)
    picture, right = speakers.picture(), {task.name: task.expert for task in library.suite.tasks}
    weights, first = [], []
    for task, by_module in picture.shares.items():
        place = picture.experts.index(str(right[task]))
        weights += [shares[place] for shares in by_module.values()]
        first += [
            float(shares[place] > max((*shares[:place], *shares[place + 1 :]), default=0.0))
            for shares in by_module.values()
        ]
    return Row(name, mean(one.exact for one in outcomes(voice, asked)), mean(weights), mean(first))


def _among(library: Library, count: int, asked: Sequence[Question]) -> Row:
    """The right expert and the next ones in the list, in equal shares."""
    names, exact = sorted(library.suite.names), []
    for task in library.suite.tasks:
        place = names.index(str(task.expert))
        experts = tuple(names[(place + step) % len(names)] for step in range(count + 1))
        voice = Voice(library.composed, Routing("uniform", top_k=1, experts=experts))
        exact += [one.exact for one in outcomes(voice, [one for one in asked if one.task.name == task.name])]
    said = "the right expert alone" if not count else f"the right expert and {count} more, equal shares"
    return Row(said, mean(exact), 1 / (count + 1), 1.0)


def main() -> None:
    """Print a table for each suite."""
    parser = argparse.ArgumentParser(prog="python -m study.why", description=__doc__)
    parser.add_argument("--suite", type=Path, action="append", required=True)
    parser.add_argument("--questions", type=int, default=10)
    parser.add_argument("--gates", action="store_true", help="with PHATGOOSE gates")
    options = parser.parse_args()
    console, began = Console(highlight=False, width=max(120, Console().width)), time.monotonic()
    for path in options.suite:
        suite = _asked_for(read_suite(path), options)
        for library, asked in libraries(
            suite, cache=CACHE, say=lambda text: console.print(f"{time.monotonic() - began:.0f} s {text}")
        ):
            table = Table(title=f"{suite.name}: who has the weight", title_justify="left")
            for column in ("way", "exact", "weight of the right expert", "modules where it has the most"):
                table.add_column(column, justify="left" if column == "way" else "right")
            for row in rows(library, asked):
                table.add_row(row.name, *(f"{value:.0%}" for value in (row.exact, row.weight, row.first)))
            console.print(table)


def _asked_for(suite: Suite, options: argparse.Namespace) -> Suite:
    tasks = tuple(task for task in suite.tasks if task.split == "held-in")
    steps = suite.gate_steps if options.gates else 0
    return replace(suite, tasks=tasks, seeds=(SEED,), questions=options.questions, gate_steps=steps)


if __name__ == "__main__":
    main()
