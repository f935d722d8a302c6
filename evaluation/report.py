"""The table of a suite: a row for each way to answer, a column for each member, and what it is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.catalogue import Suite
from evaluation.runs import BASE, Answers, Outcomes, Variant
from study.bootstrap import Numbers, interval, means, resampled_means


@dataclass(frozen=True)
class Row:
    """How one variant did: by member of the suite, on average, and above the base with a 95 % interval."""

    variant: str
    members: Mapping[str, float]
    mean: float
    above_base: float
    low: float
    high: float


def rows(answers: Mapping[str, Outcomes], members: Mapping[str, Sequence[str]]) -> list[Row]:
    """A row for each variant; `members` names the tasks of each column. The base must be among them."""
    return [_row(name, answers[name], answers[BASE], members) for name in answers]


def _row(name: str, ours: Outcomes, base: Outcomes, members: Mapping[str, Sequence[str]]) -> Row:
    scores = {
        member: float(np.mean([_mean(ours[task]) for task in tasks])) for member, tasks in members.items()
    }
    paired = [[[_paired(ours[task], base[task])] for task in tasks] for tasks in members.values()]
    above = float(np.mean([_gain(means(tasks)) for tasks in paired]))
    drawn = [_gain(resampled_means(tasks, seed=place)) for place, tasks in enumerate(paired)]
    low, high = interval(np.mean(drawn, axis=0))
    return Row(name, scores, float(np.mean(list(scores.values()))), above, low, high)


def _paired(ours: Mapping[str, float], base: Mapping[str, float]) -> Numbers:
    """One task's outcomes [2, questions]: ours, then the base's of the same questions."""
    return np.array([list(ours.values()), [base[question] for question in ours]], dtype=np.float64)


def _gain(both: Numbers) -> Numbers:
    """How much ours is above the base [...], of means [..., 2]."""
    return np.asarray(both[..., 0] - both[..., 1], dtype=np.float64)


def _mean(outcomes: Mapping[str, float]) -> float:
    return sum(outcomes.values()) / len(outcomes)


def table(found: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    members = list(found[0].members)
    lines = [
        f"| | {' | '.join(members)} | mean | above the base |",
        f"|---|{'---|' * len(members)}---|---|",
    ]
    for row in found:
        scores = " | ".join(f"{row.members[member]:.3f}" for member in members)
        gain = f"{row.above_base:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        lines.append(f"| {row.variant} | {scores} | {row.mean:.3f} | {gain} |")
    return "\n".join(lines)


@dataclass(frozen=True)
class Report:
    """A suite that was run: its rows, and what they were made of. `about` says where the figures are from,
    `questions` has those that were looked at one by one (see `evaluation.publishing`).
    """

    suite: Suite
    rows: Sequence[Row]
    ways: Sequence[Variant]
    answers: Mapping[str, Answers]
    members: Mapping[str, Sequence[str]]
    about: Mapping[str, Any]
    questions: Mapping[str, Any] | None = None


def document(report: Report) -> dict[str, Any]:
    """The table as JSON: what each column is, and each row with the kind of its way."""
    kinds = {way.name: way.kind for way in report.ways}
    questions = {} if report.questions is None else {"questions": dict(report.questions)}
    return {
        **questions,
        "suite": report.suite.name,
        "about": dict(report.about),
        "members": {name: _member(report, name, tasks) for name, tasks in report.members.items()},
        "rows": [{**asdict(row), "kind": kinds[row.variant]} for row in report.rows],
    }


def write(path: Path, report: Report) -> None:
    """All of it as JSON, each question's outcome included."""
    suite = report.suite
    whole = {
        **document(report),
        "held_in": suite.held_in,
        "held_out": suite.held_out,
        "routing": {way.name: None if way.routing is None else asdict(way.routing) for way in report.ways},
        "outcomes": {name: answers.outcomes for name, answers in report.answers.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _member(report: Report, name: str, tasks: Sequence[str]) -> dict[str, Any]:
    base = report.answers[BASE]
    return {
        "metric": ", ".join(sorted({base.metrics[task] for task in tasks})),
        "questions": sum(len(base.outcomes[task]) for task in tasks),
        "held_out": name in report.suite.held_out,
    }
