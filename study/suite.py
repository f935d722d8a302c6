"""A suite: a base, a library of experts and tasks, as data, so that anybody can run the study on theirs.

A suite is a TOML file; every path in it is relative to the file. `docs/study.md` shows one.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from routing.checks.samples import Sample

Split = Literal["held-in", "held-out", "development"]
SPLITS: tuple[Split, ...] = get_args(Split)
SEED = "{seed}"


class BadSuite(Exception):
    """The suite cannot be run as it is; the message says what was found and what would be right."""


@dataclass(frozen=True)
class Recipe:
    """How a LoRA is trained plainly: peft's defaults for everything that is not named here."""

    rank: int = 8
    alpha: int = 16
    targets: str | tuple[str, ...] = "all-linear"
    steps: int = 200
    batch: int = 16
    learning_rate: float = 2e-3
    warm_up: float = 0.06


@dataclass(frozen=True)
class ExpertSource:
    """Where an expert comes from: a PEFT folder (`{seed}` in it stands for the seed), or rows to train on.

    `rows` beside a folder are what it was trained on: gates, pooled LoRAs and clusters use them.
    """

    name: str
    adapter: str | None = None
    rows: Path | None = None
    description: str = ""


@dataclass(frozen=True)
class Task:
    """Questions with their right answers. `expert` is whose task it is; nobody's where it is held out."""

    name: str
    rows: Path
    split: Split
    expert: str | None = None


@dataclass(frozen=True)
class Suite:
    """All that a study is about. `questions` are drawn from each task anew for every seed."""

    name: str
    base: Path
    experts: tuple[ExpertSource, ...]
    tasks: tuple[Task, ...]
    seeds: tuple[int, ...] = (1, 2, 3)
    questions: int = 16
    training: Recipe = Recipe()
    pooled: Recipe = Recipe()
    gate_steps: int = 100
    gate_batch: int = 32
    gate_rows: int = 256
    policy: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The experts' names, in order."""
        return tuple(source.name for source in self.experts)


def read_suite(path: Path) -> Suite:
    """Read and check a suite; BadSuite with everything that is wrong with it."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadSuite(f"{path}: {error}") from error
    folder = path.resolve().parent
    try:
        suite = _suite(said, folder)
    except (TypeError, KeyError) as error:
        raise BadSuite(f"{path}: {error}") from error
    complaints = list(_complaints(suite))
    if complaints:
        raise BadSuite(f"{path}: " + "; ".join(complaints))
    return suite


def read_rows(path: Path) -> list[Sample]:
    """JSON lines of {"prompt", "completion"}; BadSuite naming the line that is none."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append(Sample(str(row["prompt"]), str(row["completion"])))
        except (ValueError, KeyError, TypeError) as error:
            raise BadSuite(
                f"{path}, line {number}: expected an object with a prompt and a completion"
            ) from error
    return rows


def write_rows(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    """Prompts and completions as JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"prompt": prompt, "completion": completion}) for prompt, completion in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _suite(said: Mapping[str, Any], folder: Path) -> Suite:
    plain = {name: said[name] for name in said if name not in _PARTS}
    unknown = set(plain) - {one.name for one in fields(Suite)}
    if unknown:
        raise TypeError(f"{', '.join(sorted(unknown))}: not a part of a suite")
    return Suite(
        **plain | {name: tuple(plain[name]) for name in ("seeds",) if name in plain},
        base=folder / said["base"],
        experts=tuple(_expert(one, folder) for one in said["experts"]),
        tasks=tuple(Task(**one | {"rows": folder / one["rows"]}) for one in said["tasks"]),
        training=_recipe(said.get("training", {})),
        pooled=_recipe(said.get("training", {}) | said.get("pooled", {})),
    )


_PARTS = frozenset({"base", "experts", "tasks", "training", "pooled"})


def _expert(said: Mapping[str, Any], folder: Path) -> ExpertSource:
    adapter, rows = said.get("adapter"), said.get("rows")
    found = {
        "adapter": None if adapter is None else str(folder / adapter),
        "rows": None if rows is None else folder / rows,
    }
    return ExpertSource(**dict(said) | found)


def _recipe(said: Mapping[str, Any]) -> Recipe:
    targets = said.get("targets", Recipe.targets)
    return Recipe(**dict(said) | {"targets": targets if isinstance(targets, str) else tuple(targets)})


def _complaints(suite: Suite) -> list[str]:
    found = []
    if len(set(suite.names)) != len(suite.names) or not suite.names:
        found.append("experts: expected at least one, each name once")
    for task in suite.tasks:
        if task.split not in SPLITS:
            found.append(f"task {task.name}: split is {task.split!r}, expected one of {', '.join(SPLITS)}")
        if task.split == "held-in" and task.expert not in suite.names:
            found.append(f"task {task.name}: expert is {task.expert!r}, expected the one whose task it is")
        if not task.rows.is_file():
            found.append(f"task {task.name}: {task.rows} is no file")
    for source in suite.experts:
        if source.adapter is None and source.rows is None:
            found.append(f"expert {source.name}: expected an adapter or rows to train it on")
        if source.rows is not None and not source.rows.is_file():
            found.append(f"expert {source.name}: {source.rows} is no file")
    return found
