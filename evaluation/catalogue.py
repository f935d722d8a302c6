"""Suites: groups of lm_eval's tasks as YAML files in `evaluation/suites`, or anywhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lm_eval
import yaml
from lm_eval.tasks import TaskManager

from routing.errors import RoutingError

SHIPPED = Path(__file__).parent / "suites"
HARNESS_TASKS = Path(lm_eval.__file__).parent / "tasks"


class UnknownSuite(RoutingError):
    """No suite of this name is shipped, and no file of this name describes one."""


@dataclass(frozen=True)
class Suite:
    """A group of tasks. `looks_in` are the folders of lm_eval's own tasks that it names tasks of.

    To look through all of them takes the better part of a minute. `held_in` and `held_out` name members.
    `may_be_shown` says under which licence, or of whose making, questions may be shown to anybody; it is
    empty where nobody said that they may.
    """

    name: str
    group: str
    path: Path
    members: tuple[str, ...]
    looks_in: tuple[str, ...]
    held_in: tuple[str, ...]
    held_out: tuple[str, ...]
    may_be_shown: str


def shipped() -> dict[str, Path]:
    """The suites of this repository by name."""
    return {path.stem: path for path in sorted([*SHIPPED.glob("*.yaml"), *SHIPPED.glob("*/*.yaml")])}


def find_suite(name: str) -> Suite:
    """A shipped suite by its name, or one of somebody's own by its file; UnknownSuite if neither is there."""
    path = shipped().get(name, Path(name))
    if not path.is_file():
        raise UnknownSuite(f"{name}: found no such file, and no suite among {', '.join(shipped())}")
    described = yaml.safe_load(_without_functions(path.read_text(encoding="utf-8")))
    if not isinstance(described, dict) or "group" not in described:
        raise UnknownSuite(f"{path}: expected a group of lm_eval's, with `group` and `task`")
    members = tuple(_name(member) for member in described["task"])
    said = described.get("metadata") or {}
    return Suite(
        name=path.stem,
        group=described["group"],
        path=path,
        members=members,
        looks_in=tuple(said.get("looks_in", ())),
        held_in=_members(said.get("held_in", ()), members),
        held_out=_members(said.get("held_out", ()), members),
        may_be_shown=str(said.get("may_be_shown") or ""),
    )


def task_manager(suite: Suite) -> TaskManager:
    """lm_eval's index of the tasks that this suite may name."""
    folders: list[str | Path] = [HARNESS_TASKS / folder for folder in suite.looks_in]
    return TaskManager(include_path=[*folders, suite.path.parent], include_defaults=False)


def load_tasks(suite: Suite) -> Mapping[str, Any]:
    """The suite's tasks with their data sets, which lm_eval fetches where they are not here yet."""
    return task_manager(suite).load([suite.group])


def leaves(tasks: Mapping[str, Any], suite: Suite) -> dict[str, list[str]]:
    """For each member of the suite, the tasks that it consists of."""
    below = tasks["group_map"]

    def inside(name: str) -> list[str]:
        return [leaf for child in below[name] for leaf in inside(child)] if name in below else [name]

    return {member.rpartition("::")[2]: inside(member) for member in below[suite.group]}


def _name(member: str | Mapping[str, Any]) -> str:
    return member if isinstance(member, str) else str(member.get("group") or member["task"])


def _members(said: str | Sequence[str], members: tuple[str, ...]) -> tuple[str, ...]:
    return members if said == "all" else tuple(said)


def _without_functions(text: str) -> str:
    """YAML in which lm_eval would look functions up: here their names are enough."""
    return text.replace("!function ", "")
