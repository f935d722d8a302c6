"""Whose answers a pass is for where more are under way than it has room for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from routing.base import load_base
from routing.engine import Engine
from routing.generation import Generation, Request
from routing.routed import RoutedModel
from routing.sampling import Sampling
from routing.spec import BaseRef
from tests.routing.listening import Listener
from tests.tiny import tiny_llama

PROMPT = (5, 6, 7)
ROOM = 4  # answers that one pass is for
LONG = 60  # tokens


@pytest.fixture(scope="module")
def model() -> RoutedModel:
    return another_model()


def another_model() -> RoutedModel:
    return RoutedModel(load_base(BaseRef(str(tiny_llama()))))


@dataclass(frozen=True)
class Asked:
    """The answers to one request."""

    works: list[Generation]
    listeners: list[Listener]

    @property
    def written(self) -> list[int]:
        """How many tokens each has."""
        return [work.completion_tokens for work in self.works]

    @property
    def tokens(self) -> list[list[int]]:
        return [one.tokens for one in self.listeners]


class Crowd:
    """Callers with answers at one engine, and what each pass was for."""

    def __init__(self, model: RoutedModel) -> None:
        self.model = model
        self.passes = list[tuple[int, int]]()
        self.engine = Engine(running=ROOM, told=lambda answers, tokens: self.passes.append((answers, tokens)))

    def ask(self, caller: str, answers: int, tokens: int = LONG) -> Asked:
        """A request for so many answers, each to a prompt of its own."""
        return self.submit(caller, [answer_to(self.model, place, tokens) for place in range(answers)])

    def submit(self, caller: str, works: list[Generation]) -> Asked:
        listeners = [Listener() for _ in works]
        self.engine.submit(list(zip(works, listeners, strict=True)), caller=caller)
        return Asked(works, listeners)

    def step(self, times: int) -> None:
        for _ in range(times):
            assert self.engine.step()


def tokens_of(work: Generation) -> list[int]:
    """As it is written alone."""
    engine, listener = Engine(), Listener()
    engine.submit([(work, listener)])
    while engine.step():
        pass
    return listener.tokens


def answer_to(model: RoutedModel, place: int, tokens: int) -> Generation:
    return Generation(model, Request((*PROMPT, place + 2), tokens, sampling=Sampling(0.0)))


@pytest.fixture
def crowd(model: RoutedModel) -> Iterator[Crowd]:
    crowd = Crowd(model)
    yield crowd
    assert max(answers for answers, _ in crowd.passes) <= ROOM


def test_who_comes_is_answered_though_another_has_all_places(crowd: Crowd) -> None:
    long = crowd.ask("hog", ROOM)
    crowd.step(3)

    short = crowd.ask("other", 1, tokens=8)
    crowd.step(8)

    assert short.works[0].finish == "length"
    assert sum(long.written) == 3 * ROOM + 8 * (ROOM - 1)  # which shared what was left
    assert max(long.written) - min(long.written) <= 1  # and none of them stood still


def test_passes_are_shared_by_callers_and_not_by_answers(crowd: Crowd) -> None:
    many = crowd.ask("hog", ROOM + 6)
    crowd.step(1)
    few = crowd.ask("other", 2)
    crowd.step(20)

    assert few.written == [20, 20]
    assert sum(many.written) == ROOM + 20 * (ROOM - 2)


def test_who_has_as_much_as_others_waits(crowd: Crowd) -> None:
    for caller in "abcd":
        crowd.ask(caller, 1)
    late = [crowd.ask("late", 1), crowd.ask("a", 1)]
    crowd.step(5)

    assert (crowd.engine.running, crowd.engine.waiting) == (ROOM, 2)
    assert [asked.written for asked in late] == [[0], [0]]


def test_nobody_begins_more_than_makes_all_alike(crowd: Crowd) -> None:
    crowd.ask("hog", ROOM + 2)
    crowd.ask("other", ROOM + 2)
    crowd.step(1)

    assert crowd.engine.running == ROOM + ROOM // 2  # two of four for each
    assert crowd.engine.waiting == ROOM + 4 - ROOM // 2


def test_places_beyond_a_pass_go_with_those_who_had_them(crowd: Crowd) -> None:
    crowd.ask("hog", ROOM, tokens=6)
    crowd.step(1)
    crowd.ask("other", 2, tokens=4)
    again = crowd.ask("hog", 1, tokens=4)
    assert (crowd.engine.running, crowd.engine.waiting) == (ROOM + 2, 1)

    while crowd.engine.running >= ROOM:
        assert not again.written[0]
        crowd.step(1)
    crowd.step(4)

    assert again.written == [4]
    assert crowd.engine.waiting == 0


def test_answers_by_turns_are_the_answers_given_alone(crowd: Crowd, model: RoutedModel) -> None:
    alone = [tokens_of(answer_to(model, place, 20)) for place in range(ROOM)]

    hogs = crowd.ask("hog", ROOM, tokens=20)
    crowd.step(2)
    others = crowd.ask("other", 2, tokens=20)
    while crowd.engine.running:
        crowd.step(1)

    assert hogs.tokens == alone
    assert others.tokens == alone[:2]


def test_one_prompt_of_many_answers_is_read_once_though_not_all_have_a_seat(crowd: Crowd) -> None:
    prompt = tuple(place % 300 + 2 for place in range(40))
    crowd.ask("hog", ROOM)
    crowd.step(2)
    several = crowd.submit(
        "several",
        [
            Generation(crowd.model, Request(prompt, 5, sampling=Sampling(1.0, seed=seed)))
            for seed in range(ROOM)
        ],
    )
    crowd.step(30)

    assert several.written == [5] * ROOM
    assert sum(work.passed_tokens for work in several.works) == len(prompt) + ROOM * 4


def test_another_base_has_its_turn_beside_more_than_a_pass_has_room_for(crowd: Crowd) -> None:
    crowd.ask("hog", ROOM)
    crowd.step(1)
    crowd.ask("other", 2)
    elsewhere = crowd.submit("elsewhere", [answer_to(another_model(), 0, 5)])
    crowd.step(20)

    assert elsewhere.written == [5]
    assert Counter(answers for answers, _ in crowd.passes)[1] == 5
