"""Run a study: for every seed make the library, let every method answer, and keep the outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
    """Every method, and every expert alone, on every task for every seed."""
    *_, (_, found) = growing(suite, cache=cache, say=say, methods=methods, clock=clock)
    return found


def growing(
    suite: Suite,
    *,
    cache: Path,
    say: Say,
    methods: Sequence[Method] = METHODS,
    clock: Clock = time.monotonic,
) -> Iterator[tuple[Suite, Found]]:
    """After each seed what was found so far, and the suite with the seeds so far."""
    answers: Outcomes = {}
    alone: Outcomes = {}
    seconds: dict[str, float] = {}
    speakers = Speakers(suite)
    for count, (library, asked) in enumerate(libraries(suite, cache=cache, say=say), 1):
        for name, voice in singles(library):
            _ask(voice, asked, into=alone.setdefault(name, {}))
        library.say("every expert alone has answered")
        for method, voice in _voices(library, methods):
            began = clock()
            _ask(voice, asked, into=answers.setdefault(method.name, {}))
            seconds[method.name] = seconds.get(method.name, 0.0) + clock() - began
            library.say(f"{method.name} has answered")
            if method.name == DEFAULT:
                speakers.listen(voice, asked)
        so_far = replace(suite, seeds=suite.seeds[:count])
        whole = {name: by_task for name, by_task in answers.items() if _complete(by_task, so_far)}
        yield so_far, Found(with_chosen(whole, alone, suite.tasks), speakers.picture(), dict(seconds))


def answers_of(suite: Suite, methods: Sequence[Method], *, cache: Path, say: Say) -> Outcomes:
    """These methods alone on every task for every seed."""
    answers: Outcomes = {}
    for library, asked in libraries(suite, cache=cache, say=say):
        for method, voice in _voices(library, methods):
            _ask(voice, asked, into=answers.setdefault(method.name, {}))
            library.say(f"{method.name} has answered")
    return answers


def libraries(suite: Suite, *, cache: Path, say: Say) -> Iterator[tuple[Library, list[Question]]]:
    """Each seed's library and questions."""
    base = load_base(BaseRef(str(suite.base)))
    neutral = neutral_tokens(base)
    for seed in suite.seeds:
        library = Library(suite, base, seed, cache, neutral, _of_seed(say, seed))
        yield library, _asked(library)


def _voices(library: Library, methods: Sequence[Method]) -> Iterator[tuple[Method, Voice]]:
    for method in methods:
        voice = method.voice(library)
        if voice is not None:
            yield method, voice


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
