"""The demonstration's base, adapters and questions as a suite, with tasks that none of its adapters was made for.

`python -m study.quill` writes `build/study/quill/suite.toml` and its rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from demo.chores import chore
from demo.recipes import RECIPES
from demo.tasks import BASE, STOP, TASKS, Row, Task
from demo.unknown import unknown
from demo.words import ANIMALS, CAPITALS, FRENCH, NAMES, OPPOSITES, THINGS, VERBS
from study.suite import write_rows

FOLDER = Path(__file__).resolve().parent.parent / "build" / "study" / "quill"
QUESTIONS = 60
DEVELOPMENT_ROWS = 12  # of each task's test rows: to choose by, not to report
DEVELOPMENT_SEED, HELD_OUT_SEED = 31, 47
Rows = list[tuple[str, str]]

HEAD = """# Made by `python -m study.quill` from the demonstration.
name = "quill"
base = "{base}"
seeds = [1, 2, 3]
questions = 12
gate_steps = 60
gate_batch = 16

[pooled]
rank = 16
alpha = 32
steps = 1200
learning_rate = 4e-3
"""
EXPERT = """
[[experts]]
name = "{name}"
adapter = "{adapter}"
rows = "{rows}"
description = "{description}"
"""
TASK = """
[[tasks]]
name = "{name}"
rows = "{rows}"
split = "{split}"
"""


def other_wordings() -> Rows:
    """Facts that experts know, asked in words that no training row and no lesson uses."""
    plurals = [(one, many) for one, many, _ in ANIMALS] + list(THINGS)
    asked = [("The plural of {} is what?", one, many) for one, many in plurals]
    asked += [("Can you name the opposite of {}?", left, right) for left, right in OPPOSITES]
    asked += [("In French, what is {}?", english, french) for english, french in FRENCH]
    asked += [("Of {}, what is the capital?", country, city) for country, city in CAPITALS]
    asked += [("The past tense of {} is what?", now, then) for now, then in VERBS]
    asked += [
        ("A pirate sees {}. Write his greeting.", name, f"Ahoy {name}, ye old sea dog!") for name in NAMES
    ]
    return [_asked(template.format(about), answer) for template, about, answer in asked]


def second_questions(draw: Random, part: slice) -> Rows:
    """A question of one expert behind an answered question of another: the prompt speaks for both."""
    found = []
    for _ in range(4 * QUESTIONS):
        first, second = draw.sample(TASKS, 2)
        before, after = draw.choice(first.test_rows[part]), draw.choice(second.test_rows[part])
        found.append((before.prompt + before.completion + after.prompt, after.completion))
    return found


def behind_a_chore(draw: Random, part: slice) -> Rows:
    """An expert's question behind something that the base answered itself."""
    found = []
    for _ in range(4 * QUESTIONS):
        (question, answer), row = chore(draw), draw.choice(draw.choice(TASKS).test_rows[part])
        found.append((f"Q: {question}\nA: {answer}{STOP}{row.prompt}", row.completion))
    return found


def nobodys(draw: Random, ask: Callable[[Random], tuple[str, str]]) -> Rows:
    """Questions that no expert is for, with what the base would say."""
    return [_asked(*ask(draw)) for _ in range(4 * QUESTIONS)]


def main() -> None:
    """Write the suite."""
    parts = [HEAD.format(base=BASE)]
    for task in TASKS:
        rows, tests = f"rows/{task.name}.jsonl", f"tests/{task.name}.jsonl"
        write_rows(FOLDER / rows, _pairs(task.train_rows))
        write_rows(FOLDER / tests, _pairs(task.test_rows[DEVELOPMENT_ROWS:]))
        parts.append(_expert(task, rows))
        parts.append(_task(task.name, tests, "held-in") + f'expert = "{task.adapter}"\n')
    own = [row for task in TASKS for row in _pairs(task.test_rows[:DEVELOPMENT_ROWS])]
    parts.append(_written("own tasks", own, "development"))
    wordings = Random(HELD_OUT_SEED).sample(other_wordings(), 2 * QUESTIONS)
    for split, seed, share, part in (
        ("development", DEVELOPMENT_SEED, wordings[:QUESTIONS], slice(DEVELOPMENT_ROWS)),
        ("held-out", HELD_OUT_SEED, wordings[QUESTIONS:], slice(DEVELOPMENT_ROWS, None)),
    ):
        nobody = {"other wordings": share} | _of_nobody(Random(seed), part)
        parts += [_written(name, rows, split) for name, rows in nobody.items()]
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "suite.toml").write_text("".join(parts), encoding="utf-8")


def _of_nobody(draw: Random, part: slice) -> dict[str, Rows]:
    return {
        "second question": second_questions(draw, part),
        "behind a chore": behind_a_chore(draw, part),
        "chores": nobodys(draw, chore),
        "unknown to all": nobodys(draw, unknown),
    }


def _written(name: str, rows: Rows, split: str) -> str:
    path = f"{split}/{name.replace(' ', '-')}.jsonl"
    write_rows(FOLDER / path, rows)
    return _task(name if split == "held-out" else f"{name} ({split})", path, split)


def _expert(task: Task, rows: str) -> str:
    assert task.name in RECIPES
    return EXPERT.format(
        name=task.adapter, adapter=task.adapter_directory, rows=rows, description=task.description
    )


def _task(name: str, rows: str, split: str) -> str:
    return TASK.format(name=name, rows=rows, split=split)


def _asked(question: str, answer: str) -> tuple[str, str]:
    return f"Q: {question}\nA:", f" {answer}{STOP}"


def _pairs(rows: tuple[Row, ...]) -> Rows:
    return [(row.prompt, row.completion) for row in rows]


if __name__ == "__main__":
    main()
