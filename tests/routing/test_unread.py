"""Answers whose readers are behind: they keep their places, and take no turns from those who read."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from routing.base import load_base
from routing.engine import Engine, EngineFull, Ticket
from routing.generation import Generation, Request
from routing.routed import RoutedModel
from routing.sampling import Sampling
from routing.spec import BaseRef
from tests.routing.listening import Listener
from tests.tiny import tiny_llama

TOKENS = 6


@pytest.fixture(scope="module")
def model() -> RoutedModel:
    return RoutedModel(load_base(BaseRef(str(tiny_llama()))))


def answers(model: RoutedModel, number: int) -> list[tuple[Generation, Listener]]:
    greedy = Sampling(0.0)
    return [
        (Generation(model, Request((5, 6, 7 + place), TOKENS, sampling=greedy)), Listener())
        for place in range(number)
    ]


def run(engine: Engine) -> None:
    while engine.step():
        pass


def written(works: Sequence[tuple[Generation, Listener]]) -> list[int]:
    return [len(listener.tokens) for _, listener in works]


def taken(engine: Engine, model: RoutedModel, caller: str, number: int = 1) -> list[Ticket]:
    engine.require_room(caller, number)
    return engine.take(answers(model, number), caller=caller)


def test_what_is_written_has_its_place_until_it_is_read(model: RoutedModel) -> None:
    engine = Engine(running=1, waiting=2)
    tickets = taken(engine, model, "ada", 3)
    run(engine)

    assert (engine.running, engine.waiting, engine.unread, engine.held("ada")) == (0, 0, 3, 3)
    with pytest.raises(EngineFull, match=r"0 answers are under way.*; 3 are written, but not read"):
        engine.require_room("bob")
    for ticket in tickets:
        engine.cancel(ticket)
        engine.cancel(ticket)
    assert (engine.unread, engine.held("ada")) == (0, 0)
    engine.require_room("bob", 3)


def test_who_reads_nothing_leaves_places_for_others(model: RoutedModel) -> None:
    engine = Engine(running=2, waiting=8)
    for _ in range(8):
        taken(engine, model, "ada")
        run(engine)

    with pytest.raises(EngineFull, match="6 of your answers wait already, and 2 places are left"):
        engine.require_room("ada")
    taken(engine, model, "bob")


def test_what_fails_has_its_place_until_that_is_read(
    model: RoutedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine()
    (ticket,) = taken(engine, model, "ada")
    monkeypatch.setattr("routing.engine.advance", None)
    assert engine.step()

    assert (engine.running, engine.held("ada")) == (0, 1)
    engine.cancel(ticket)
    assert engine.held("ada") == 0


def test_what_is_paused_takes_no_turns_and_goes_on_where_it_was(model: RoutedModel) -> None:
    engine, works, alone = Engine(running=1, waiting=2), answers(model, 2), answers(model, 2)
    first, _ = engine.submit(works, caller="ada")
    engine.step()
    engine.pause(first)
    run(engine)

    assert written(works) == [1, TOKENS]
    assert (engine.running, engine.held("ada"), engine.wait(0)) == (1, 1, False)
    engine.go_on(first)
    assert engine.wait(0)
    run(engine)
    other = Engine()
    other.submit(alone)
    run(other)
    assert [one.tokens for _, one in works] == [one.tokens for _, one in alone]


def test_a_pass_has_room_for_others_in_the_place_of_what_is_paused(model: RoutedModel) -> None:
    passes = list[int]()
    engine = Engine(running=2, told=lambda readers, _tokens: passes.append(readers))
    slow = engine.submit(answers(model, 2), caller="ada")
    engine.step()
    for ticket in slow:
        engine.pause(ticket)
    works = answers(model, 2)
    engine.submit(works, caller="ada")
    passes.clear()
    run(engine)

    assert set(passes) == {2}
    assert written(works) == [TOKENS, TOKENS]


def test_what_is_paused_can_be_cancelled(model: RoutedModel) -> None:
    engine = Engine()
    (ticket,) = taken(engine, model, "ada")
    engine.pause(ticket)
    engine.cancel(ticket)
    engine.go_on(ticket)

    assert (engine.running, engine.held("ada"), engine.step()) == (0, 0, False)
