"""The table: every method's exact answers and loss on a split, with intervals and beside its rivals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np

from study.answers import Outcome
from study.bootstrap import Numbers, interval, means, normalised, resampled_means, stacked
from study.methods import BASE, MULTITASK
from study.suite import Split, Task

ORACLE, BEST_SINGLE, UNIFORM = "oracle", "best single", "uniform"
# By method, task and seed: the outcomes of that seed's questions.
Answers = Mapping[str, Mapping[str, Sequence[Sequence[Outcome]]]]
Span = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """One method on one split. `over` is by rival: the difference in exact answers and its interval."""

    method: str
    exact: float
    exact_span: Span
    loss: float
    loss_span: Span
    score: float
    score_span: Span
    over: Mapping[str, tuple[float, Span]]
    by_task: Mapping[str, float]


def with_chosen(answers: Answers, singles: Answers, tasks: Sequence[Task]) -> Answers:
    """The answers with those of the best single expert and of the oracle."""
    seeds = range(len(next(iter(answers[BASE].values()))))
    everybody = {**singles, BASE: answers[BASE]}
    held_in = [task for task in tasks if task.split == "held-in"]
    best = [max(singles, key=lambda name: _quality(singles, name, held_in, seed)) for seed in seeds]
    return {
        **answers,
        BEST_SINGLE: {task.name: [singles[best[seed]][task.name][seed] for seed in seeds] for task in tasks},
        ORACLE: {
            task.name: [everybody[_wisest(everybody, task, seed)][task.name][seed] for seed in seeds]
            for task in tasks
        },
    }


def lines(answers: Answers, tasks: Sequence[Task], split: Split, *, resamples: int = 1000) -> list[Line]:
    """A line per method, best first; none where the split has no task."""
    chosen = [task for task in tasks if task.split == split]
    if not chosen:
        return []
    methods = sorted(answers)
    exact, losses = (_numbers(answers, methods, chosen, of) for of in ("exact", "loss"))
    drawn, drawn_losses = (resampled_means(numbers, resamples=resamples) for numbers in (exact, losses))
    found, found_losses = means(exact), means(losses)
    place = {method: row for row, method in enumerate(methods)}
    scores = normalised(found, base=found[place[BASE]], oracle=found[place[ORACLE]])
    drawn_scores = normalised(drawn, base=drawn[:, [place[BASE]]], oracle=drawn[:, [place[ORACLE]]])
    rivals = [name for name in (BASE, UNIFORM, MULTITASK, ORACLE) if name in place]
    result = [
        Line(
            method=method,
            exact=float(found[row]),
            exact_span=interval(drawn[:, row]),
            loss=float(found_losses[row]),
            loss_span=interval(drawn_losses[:, row]),
            score=float(scores[row]),
            score_span=interval(drawn_scores[:, row]),
            over={rival: _over(found, drawn, row, place[rival]) for rival in rivals},
            by_task={task.name: _mean_exact(answers[method][task.name]) for task in chosen},
        )
        for method, row in place.items()
    ]
    return sorted(result, key=lambda line: (-line.exact, line.loss))


def _over(found: Numbers, drawn: Numbers, row: int, rival: int) -> tuple[float, Span]:
    return float(found[row] - found[rival]), interval(drawn[:, row] - drawn[:, rival])


def _mean_exact(by_seed: Sequence[Sequence[Outcome]]) -> float:
    return mean(mean(outcome.exact for outcome in outcomes) for outcomes in by_seed)


def _quality(answers: Answers, name: str, tasks: Sequence[Task], seed: int) -> tuple[float, float]:
    """For comparing: more exact answers first, then less loss."""
    if not tasks:
        return 0.0, 0.0
    exact = mean(mean(one.exact for one in answers[name][task.name][seed]) for task in tasks)
    loss = mean(mean(one.loss for one in answers[name][task.name][seed]) for task in tasks)
    return exact, -loss


def _wisest(everybody: Answers, task: Task, seed: int) -> str:
    """Whose task it is; where it is nobody's, the one that turned out best, which may be the base."""
    if task.expert is not None:
        return task.expert
    return max(everybody, key=lambda name: _quality(everybody, name, [task], seed))


def _numbers(answers: Answers, methods: Sequence[str], tasks: Sequence[Task], of: str) -> list[list[Numbers]]:
    """By task and seed [methods, questions]."""
    seeds = range(len(answers[BASE][tasks[0].name]))
    return [
        [
            stacked(
                {name: [getattr(one, of) for one in answers[name][task.name][seed]] for name in methods},
                methods,
            )
            for seed in seeds
        ]
        for task in tasks
    ]


def finite(value: float) -> float | None:
    """The value as JSON can hold it."""
    return value if math.isfinite(value) and not np.isnan(value) else None
