"""`python -m demo.write_questions`: the demonstration's test questions as the files of an evaluation suite."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from demo.tasks import TASKS, Task

SUITE = Path(__file__).resolve().parent.parent / "evaluation" / "suites" / "demo"


def lines(task: Task) -> str:
    """A task's test rows as JSON lines."""
    return "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in task.test_rows)


def main() -> None:
    for task in TASKS:
        (SUITE / f"{task.name}.jsonl").write_text(lines(task), encoding="utf-8")


if __name__ == "__main__":
    main()
