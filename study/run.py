"""Run a study: for every seed make the library, let every method answer, and keep the outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from routing.base import load_base
from routing.neutral import neutral_tokens
from routing.spec import BaseRef
from study.answers import Outcome, Question, Voice, outcomes, questions
from study.library import Library, Say
from study.methods import DEFAULT, METHODS, Method, singles
from study.speakers import Picture, Speakers
from study.suite import Suite
from study.table import Answers, with_chosen

Outcomes = dict[str, dict[str, list[list[Outcome]]]]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Found:
    """What a study found. `answers` hold best single and oracle; `picture` is who spoke, by the default."""

    answers: Answers
    picture: Picture
    seconds: Mapping[str, float] = field(default_factory=dict)


def run(
    suite: Suite,
    *,
    cache: Path,
    say: Say,
    methods: Sequence[Method] = METHODS,
    clock: Clock = time.monotonic,
) -> Found:
    """Every method on every task for every seed."""
    base = load_base(BaseRef(str(suite.base)))
    neutral = neutral_tokens(base)
    answers: Outcomes = {}
    alone: Outcomes = {}
    seconds: dict[str, float] = {}
    speakers = Speakers(suite)
    for seed in suite.seeds:
        library = Library(suite, base, seed, cache, neutral, _of_seed(say, seed))
        asked = _asked(library)
        for name, voice in singles(library):
            _ask(voice, asked, into=alone.setdefault(name, {}))
        library.say("every expert alone has answered")
        for method in methods:
            said = method.voice(library)
            if said is None:
                continue
            began = clock()
            _ask(said, asked, into=answers.setdefault(method.name, {}))
            seconds[method.name] = seconds.get(method.name, 0.0) + clock() - began
            library.say(f"{method.name} has answered")
            if method.name == DEFAULT:
                speakers.listen(said, asked)
    whole = {name: by_task for name, by_task in answers.items() if _complete(by_task, suite)}
    return Found(with_chosen(whole, alone, suite.tasks), speakers.picture(), seconds)


def _of_seed(say: Say, seed: int) -> Say:
    return lambda text: say(f"seed {seed}: {text}")


def _asked(library: Library) -> list[Question]:
    return [
        question
        for task in library.suite.tasks
        for question in questions(library.suite, task, library.seed, library.composed)
    ]


def _ask(voice: Voice, asked: Sequence[Question], *, into: dict[str, list[list[Outcome]]]) -> None:
    """One seed's outcomes, kept by task."""
    by_task: dict[str, list[Outcome]] = {}
    for question, outcome in zip(asked, outcomes(voice, asked), strict=True):
        by_task.setdefault(question.task.name, []).append(outcome)
    for name, found in by_task.items():
        into.setdefault(name, []).append(found)


def _complete(by_task: Mapping[str, Sequence[object]], suite: Suite) -> bool:
    return all(len(found) == len(suite.seeds) for found in by_task.values())
