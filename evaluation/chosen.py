"""Which questions of a suite are looked at one by one: some where ways to answer differ, and some by lot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from evaluation.runs import Outcomes


@dataclass(frozen=True)
class Choice:
    """A question by its task and its place there, and whether it was chosen because ways differ."""

    task: str
    question: str
    differs: bool


def choose(
    answers: Sequence[Outcomes], members: Mapping[str, Sequence[str]], most: int
) -> dict[str, list[Choice]]:
    """Up to `most` questions of each member, in turns one where these ways differ and one by lot.

    The lot is a digest of the question's name, so every version of a library is shown by the same questions
    as far as ways differ on the same ones. Any beginning of a list is as mixed as the whole.
    """
    return {member: _of_member(answers, tasks, most) for member, tasks in members.items()}


def _of_member(answers: Sequence[Outcomes], tasks: Sequence[str], most: int) -> list[Choice]:
    names = [(task, question) for task in tasks for question in answers[0][task]]
    by_lot = sorted(names, key=_lot)
    differing = [name for name in by_lot if len({outcomes[name[0]][name[1]] for outcomes in answers}) > 1]
    chosen: dict[tuple[str, str], bool] = {}
    waiting = (_not_in(chosen, differing), _not_in(chosen, by_lot))
    while len(chosen) < min(most, len(names)):
        for place, names_left in enumerate(waiting):
            name = next(names_left, None)
            if name is not None and len(chosen) < most:
                chosen[name] = place == 0
    return [Choice(*name, differs) for name, differs in chosen.items()]


def _not_in(
    chosen: Mapping[tuple[str, str], bool], names: Sequence[tuple[str, str]]
) -> Iterator[tuple[str, str]]:
    return (name for name in names if name not in chosen)


def _lot(name: tuple[str, str]) -> str:
    return hashlib.sha256("\0".join(name).encode()).hexdigest()
