"""The table at the end: every task answered by the base, by the best single expert, by all of them composed, and by its own expert."""

import hashlib
import json
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from demo.show.serving_api import Serving
from demo.tasks import Task, exact_match

ROWS = 8
ELSEWHERE = (
    4  # questions of each task for an expert of another: most of all that are asked, and nearly all wrong
)
AT_ONCE = 4  # questions: while one is being answered the next is already on its way

Scores = dict[str, dict[str, float]]


def score(tasks: Sequence[Task], serving: Serving, *, console: Console, rows: int = ROWS) -> Scores:
    """Share of exact answers, by model and task: `base`, `composed`, and each expert alone under its adapter's name."""
    models = {"base": f"{serving.library}/base", "composed": serving.library}
    models |= {task.adapter: f"{serving.library}/{task.adapter}" for task in tasks}
    columns = (
        TextColumn("{task.description:<32}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    scores: Scores = {}
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("asking", total=len(models) * len(tasks))
        for name, model in models.items():
            scores[name] = {}
            for task in tasks:
                progress.update(bar, description=f"{name}: {task.name}"[:32])
                here = name in ("base", "composed", task.adapter)
                scores[name][task.name] = _score(task, serving, model, rows if here else min(rows, ELSEWHERE))
                progress.advance(bar)
    return scores


def remembered(path: Path, key: str, ask: Callable[[], Scores], *, console: Console) -> Scores:
    """The scores that were asked for under this key before, or those that are asked for now and kept.

    Answers at temperature zero are a function of the served version and the questions, which the key names.
    """
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if known.get("key") == key:
        console.print(f"[dim]Asked before of this same index version; remove {path} to ask again.[/dim]")
        return dict(known["scores"])
    scores = ask()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"key": key, "scores": scores}, indent=1), encoding="utf-8")
    return scores


def key_of(manifest: str, tasks: Sequence[Task], *, rows: int = ROWS) -> str:
    """Names a served version and every question that it is asked, with the answer that is right."""
    asked = [(task.adapter, row.prompt, row.completion) for task in tasks for row in task.test_rows[:rows]]
    return hashlib.sha256(json.dumps([manifest, asked]).encode()).hexdigest()


def _score(task: Task, serving: Serving, model: str, rows: int) -> float:
    asked = task.test_rows[:rows]
    with ThreadPoolExecutor(AT_ONCE) as several:
        answers = several.map(lambda row: serving.ask(row.prompt, model=model).text, asked)
        right = [exact_match(answer, row.completion) for answer, row in zip(answers, asked, strict=True)]
    return sum(right) / len(right)


def best_single(scores: Scores) -> str:
    """The one expert that is best on average over all tasks."""
    singles = [name for name in scores if "/" in name]
    return max(singles, key=lambda name: statistics.mean(scores[name].values()))


def score_table(tasks: Sequence[Task], scores: Scores) -> Table:
    """Tasks by base, best single expert, composed model and oracle (the task's own expert)."""
    single = best_single(scores)
    table = Table(title="Exact answers on questions that no training row contains", title_justify="left")
    table.add_column("task")
    for heading in ("base", f"best single\n({single})", "composed", "oracle"):
        table.add_column(heading, justify="right")
    rows = [
        [scores[name][task.name] for name in ("base", single, "composed", task.adapter)] for task in tasks
    ]
    for task, values in zip(tasks, rows, strict=True):
        table.add_row(task.name, *(f"{value:.0%}" for value in values))
    table.add_section()
    table.add_row(
        "[b]average[/b]", *(f"[b]{statistics.mean(column):.0%}[/b]" for column in zip(*rows, strict=True))
    )
    return table
