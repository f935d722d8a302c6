"""What a study leaves: a table on the screen, JSON, pictures, and the page docs/study.md made from the JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from study.methods import BASE, DEFAULT, METHODS, MULTITASK, policy_of_suite
from study.pictures import bar_chart, entropy_chart, heat_map
from study.run import Found
from study.suite import SPLITS, Split, Suite
from study.table import ORACLE, UNIFORM, Line, finite, lines

COLUMNS = ("method", "exact", "95 %", "loss", "score", "95 %", "over uniform", "over multitask")
ENOUGH = 0.95  # of the oracle
HEAD = """# The study

Written by `make study`, or by a smaller run of it, from the figures in `study/results/`, not by hand; each suite says below what was run. Any base, adapters and tasks can be studied: [how](routing/study.md).

*exact*: share of exactly right answers, decoded greedily. *loss*: nats per token of the right answer. *score*: (method - base) / (oracle - base).
Intervals are 95 %, from a paired bootstrap over seeds and questions. *oracle*: a held-in task's own expert; for a held-out task the expert, or the base, that
turned out best there. *best single*: the expert that is best over all held-in tasks.
"""


def show(console: Console, suite: Suite, split: Split, found: Sequence[Line]) -> None:
    """Print one split's table."""
    table = Table(title=f"{suite.name}, {split}", title_justify="left")
    for place, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    for line in found:
        table.add_row(*cells(line))
    console.print(table)


def cells(line: Line | Mapping[str, Any]) -> tuple[str, ...]:
    """One line in words, from the line itself or from its JSON."""
    said = _plain(line) if isinstance(line, Line) else line
    return (
        said["method"],
        f"{said['exact']:.1%}",
        _span(said["exact_span"], "{:.0%}"),
        f"{said['loss']:.2f}",
        "" if said["score"] is None else f"{said['score']:.2f}",
        _span(said["score_span"], "{:.2f}"),
        _over(said, UNIFORM),
        _over(said, MULTITASK),
    )


def save(suite: Suite, found: Found, *, folder: Path) -> Path:
    """Write the figures as JSON and the pictures as SVG; returns the JSON's path."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {split: lines(found.answers, suite.tasks, split) for split in SPLITS}
    for split, found_lines in tables.items():
        if found_lines:
            title = f"{suite.name}, {split}: exact answers"
            (folder / f"{suite.name}-{split}.svg").write_text(bar_chart(title, found_lines), encoding="utf-8")
    _draw_speakers(suite, found, folder)
    path = folder / f"{suite.name}.json"
    document = {
        "suite": suite.name,
        "seeds": list(suite.seeds),
        "questions": suite.questions,
        "experts": len(suite.experts),
        "not_run": [method.name for method in METHODS if method.name not in found.answers],
        "policy": asdict(policy_of_suite(suite)),
        "seconds": {name: round(value, 1) for name, value in found.seconds.items()},
        "tables": {split: [_plain(line) for line in some] for split, some in tables.items() if some},
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return path


def write_page(folder: Path, page: Path) -> None:
    """The page of all suites that have results in `folder`."""
    parts = [HEAD]
    for path in sorted(folder.glob("*.json")):
        parts += _section(json.loads(path.read_text(encoding="utf-8")), folder.name)
    page.write_text("\n".join(parts), encoding="utf-8")


def _section(said: Mapping[str, Any], folder: str) -> list[str]:
    name = said["suite"]
    parts = [
        f"\n## {name}\n",
        (
            f"{said['experts']} experts, seeds {', '.join(map(str, said['seeds']))}, at most {said['questions']} "
            f"questions of each task and seed. *default* is `{json.dumps(said['policy'])}`."
        ),
    ]
    if said.get("not_run"):
        parts.append(f"\nNot run: {', '.join(said['not_run'])}.")
    parts += _verdict(said["tables"])
    for split, found in said["tables"].items():
        parts += [f"\n### {name}, {split}\n", _row(COLUMNS), "|---|" + "---:|" * (len(COLUMNS) - 1)]
        parts += [_row(cells(line)) for line in found]
        parts += [f"\n![Exact answers by method](../study/{folder}/{name}-{split}.svg)", *_by_task(found)]
    parts.append(f"\n![Who speaks where](../study/{folder}/{name}-speakers.svg)")
    parts.append(f"\n![How undecided tokens are](../study/{folder}/{name}-entropy.svg)\n")
    return parts


def _verdict(tables: Mapping[str, Any]) -> list[str]:
    """Whether the default keeps what is asked of it: near the oracle on held-in, above multitask on held-out."""
    parts = []
    held_in, held_out = ({line["method"]: line for line in tables.get(split, ())} for split in SPLITS[:2])
    if DEFAULT in held_in and held_in[ORACLE]["exact"]:
        share = held_in[DEFAULT]["exact"] / held_in[ORACLE]["exact"]
        kept = "at least" if share >= ENOUGH else "less than"
        parts.append(f"\nHeld-in, *default* reaches {share:.0%} of the oracle: {kept} {ENOUGH:.0%}.")
    if MULTITASK in held_out.get(DEFAULT, {}).get("over", {}):
        difference, low, high = held_out[DEFAULT]["over"][MULTITASK]
        sure = "sure" if low > 0 or high < 0 else "not sure"
        parts.append(
            f"\nHeld-out, *default* minus multitask LoRA: {difference:+.0%} ({low:+.0%} to {high:+.0%}), {sure}."
        )
    return parts


def _by_task(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """A second table: some methods by task."""
    shown = [line for line in found if line["method"] in (BASE, DEFAULT, UNIFORM, MULTITASK, ORACLE)]
    head = _row(["task", *(line["method"] for line in shown)])
    rows = [_row([task, *(f"{line['by_task'][task]:.0%}" for line in shown)]) for task in shown[0]["by_task"]]
    return ["", head, "|---|" + "---:|" * len(shown), *rows]


def _draw_speakers(suite: Suite, found: Found, folder: Path) -> None:
    picture = found.picture
    if not picture.modules:
        return
    task = next((task.name for task in suite.tasks if task.split == "held-out"), suite.tasks[0].name)
    if task in picture.shares:
        drawn = heat_map(f"{suite.name}: who speaks where, on {task}", picture, task)
        (folder / f"{suite.name}-speakers.svg").write_text(drawn, encoding="utf-8")
    drawn = entropy_chart(f"{suite.name}: entropy of a token's mixing weights, in nats", picture)
    (folder / f"{suite.name}-entropy.svg").write_text(drawn, encoding="utf-8")


def _plain(line: Line) -> dict[str, Any]:
    said = asdict(line)
    return {
        **said,
        "score": finite(line.score),
        "score_span": [finite(edge) for edge in line.score_span],
        "exact_span": list(line.exact_span),
        "over": {rival: [difference, *span] for rival, (difference, span) in line.over.items()},
    }


def _span(span: Sequence[float | None], form: str) -> str:
    return " to ".join(form.format(edge) for edge in span if edge is not None)


def _over(said: Mapping[str, Any], rival: str) -> str:
    if rival not in said["over"]:
        return ""
    difference, low, high = said["over"][rival]
    return f"{difference:+.0%} ({low:+.0%} to {high:+.0%})"


def _row(found: Sequence[str]) -> str:
    return "| " + " | ".join(found) + " |"
