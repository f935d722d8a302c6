"""Choose a default policy on development tasks alone: held-in and held-out questions are never looked at.

`python -m study.choose --suite ... --suite ...` prints, for every candidate and development task, how many
answers are exact, and for each candidate the mean, and the most that it loses to the plain base on one task.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from routing.index import RoutingPolicy
from routing.routes import routing_of
from study.__main__ import CACHE
from study.answers import Voice
from study.library import Library
from study.methods import BASE, Method
from study.run import answers_of
from study.suite import Suite, read_suite
from study.table import Answers


def candidates() -> Iterator[RoutingPolicy]:
    """The grid: the old default, the prompt's best expert, short lists, and priors that weigh in."""
    plain = RoutingPolicy(
        "arrow", top_k=3, shortlist=0, calibrated=False, prior_abstain=False, prior_weight=0.0
    )
    one = replace(plain, top_k=1, shortlist=1)
    yield from (one, replace(one, prior_abstain=True))
    yield replace(one, shortlist=2, calibrated=True)
    yield replace(plain, router="evidence", top_k=2, prior_weight=3.0)
    yield replace(plain, router="evidence", top_k=2, prior_weight=10.0, prior_abstain=True)
    yield plain
    yield replace(one, shortlist=3, router="uniform")
    yield from (replace(one, prior="auto"), replace(one, prior="auto", prior_abstain=True))
    yield replace(one, prior="retrieval")
    yield replace(one, prior="retrieval", prior_abstain=True)


def named(policy: RoutingPolicy) -> str:
    """What of a policy is not the dataclass's own default, in words."""
    usual = asdict(RoutingPolicy("arrow", top_k=1, shortlist=0, calibrated=False, prior_abstain=False))
    said = {name: value for name, value in asdict(policy).items() if value != usual[name]}
    return ", ".join(name if value is True else f"{name} {value}" for name, value in said.items()) or "plain"


def method_of(policy: RoutingPolicy) -> Method:
    """The policy as a method of the study."""
    return Method(named(policy), lambda library: _voice(library, policy))


def _voice(library: Library, policy: RoutingPolicy) -> Voice:
    return Voice(library.composed, routing_of(policy))


def exact_by_task(answers: Answers) -> dict[str, dict[str, float]]:
    """Exact answers by method and task, over seeds."""
    return {
        method: {
            task: mean(mean(one.exact for one in outcomes) for outcomes in by_seed)
            for task, by_seed in by_task.items()
        }
        for method, by_task in answers.items()
    }


def table_of(title: str, exact: Mapping[str, Mapping[str, float]]) -> Table:
    """Candidates by development task, best mean first."""
    base = exact[BASE]
    table = Table(title=title, title_justify="left")
    for column in ("policy", *base, "mean", "worst against base"):
        table.add_column(column, justify="left" if column == "policy" else "right")
    for method, by_task in sorted(exact.items(), key=lambda item: -mean(item[1].values())):
        worst = min(by_task[task] - base[task] for task in base)
        values = [*by_task.values(), mean(by_task.values())]
        table.add_row(method, *(f"{value:.0%}" for value in values), f"{worst:+.0%}")
    return table


def main() -> None:
    """Print a table for each suite, with and without gates."""
    parser = argparse.ArgumentParser(prog="python -m study.choose", description=__doc__)
    parser.add_argument("--suite", type=Path, action="append", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[11])
    parser.add_argument("--questions", type=int, default=20)
    parser.add_argument(
        "--gates", action="store_true", help="with PHATGOOSE gates, which take a while to train"
    )
    options = parser.parse_args()
    console, began = Console(highlight=False, width=max(160, Console().width)), time.monotonic()
    methods = [Method(BASE, lambda library: Voice(library.composed, None)), *map(method_of, candidates())]
    for path in options.suite:
        suite = _for_development(read_suite(path), options)
        answers = answers_of(
            suite,
            methods,
            cache=CACHE,
            say=lambda text: console.print(f"{time.monotonic() - began:.0f} s {text}"),
        )
        console.print(
            table_of(f"{suite.name}, development{', gates' if options.gates else ''}", exact_by_task(answers))
        )


def _for_development(suite: Suite, options: argparse.Namespace) -> Suite:
    tasks = tuple(task for task in suite.tasks if task.split == "development")
    return replace(
        suite,
        tasks=tasks,
        seeds=tuple(options.seeds),
        questions=options.questions,
        gate_steps=suite.gate_steps if options.gates else 0,
    )


if __name__ == "__main__":
    main()
