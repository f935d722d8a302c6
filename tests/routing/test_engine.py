"""The engine's care: whoever fails fails alone, and nobody waits for an engine that has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from unittest.mock import patch

import pytest

from routing.base import load_base
from routing.engine import PREFILL_BESIDE, RUNNING, SHARE, WAITING, Engine, EngineEnded, EngineFull
from routing.generation import Generation, Request
from routing.pieces import PIECE
from routing.routed import RoutedModel
from routing.sampling import Sampling
from routing.spec import BaseRef
from tests.routing.listening import Listener
from tests.tiny import tiny_llama

GREEDY = Sampling(0.0)
Broken = type("Broken", (Exception,), {})


@pytest.fixture(scope="module")
def model() -> RoutedModel:
    return RoutedModel(load_base(BaseRef(str(tiny_llama()))))


def answer_to(model: RoutedModel, length: int, tokens: int = 3) -> Generation:
    prompt = tuple(place % 300 + 2 for place in range(length))
    return Generation(model, Request(prompt, tokens, sampling=GREEDY))


def run(engine: Engine) -> None:
    while engine.step():
        pass


def failing(*_: object, **__: object) -> None:
    raise Broken


@pytest.mark.parametrize("part", ["reading", "hear"])
def test_what_fails_for_one_answer_ends_that_answer_alone(model: RoutedModel, part: str) -> None:
    engine, listeners = Engine(), [Listener() for _ in range(3)]
    works = [answer_to(model, length) for length in (4, 5, 6)]
    with patch.object(works[1], part, failing):
        engine.submit(list(zip(works, listeners, strict=True)))
        run(engine)

    alone = Listener()
    engine.submit([(answer_to(model, 6), alone)])
    run(engine)
    assert [one.failures for one in listeners] == [[], [Broken], []]
    assert listeners[2].tokens == alone.tokens != []
    assert engine.running == 0


def test_a_listener_that_fails_is_nobody_elses_trouble(
    model: RoutedModel, caplog: pytest.LogCaptureFixture
) -> None:
    engine, listener = Engine(), Listener()
    engine.submit([(answer_to(model, 4), failing), (answer_to(model, 4), listener)])
    run(engine)

    assert len(listener.tokens) == 3
    assert "could not be told" in caplog.text


def test_a_pass_that_cannot_be_counted_is_heard(model: RoutedModel) -> None:
    engine, listener = Engine(told=failing), Listener()
    engine.submit([(answer_to(model, 4), listener)])
    run(engine)

    assert (len(listener.tokens), listener.errors) == (3, [])


def test_what_fails_beside_the_answers_ends_those_under_way_and_not_the_engine(
    model: RoutedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, listeners = Engine(running=1), [Listener(), Listener()]
    engine.submit([(answer_to(model, 4), one) for one in listeners])
    with monkeypatch.context() as broken:
        broken.setattr("routing.engine.advance", failing)
        assert engine.step()
    run(engine)

    assert [one.failures for one in listeners] == [[Broken], []]
    assert len(listeners[1].tokens) == 3


def test_an_engine_that_has_ended_tells_everybody_and_takes_nothing(model: RoutedModel) -> None:
    engine, listeners = Engine(running=1), [Listener(), Listener()]
    engine.submit([(answer_to(model, 4), one) for one in listeners])
    engine.end(EngineEnded("it has"))

    assert [one.failures for one in listeners] == [[EngineEnded], [EngineEnded]]
    assert (engine.running, engine.waiting, engine.step()) == (0, 0, False)
    asked: list[Callable[[], object]] = [
        engine.require_room,
        lambda: engine.submit([(answer_to(model, 4), Listener())]),
    ]
    for ask in asked:
        with pytest.raises(EngineEnded, match="it has"):
            ask()


def flooded(model: RoutedModel, engine: Engine, caller: str) -> int:
    """How many answers a caller holds who asks for one after the other until none is taken."""
    while True:
        try:
            engine.submit([(answer_to(model, 3), Listener())], caller=caller)
        except EngineFull:
            return engine.held(caller)


def test_whoever_fills_the_queue_leaves_places_for_those_who_have_none(model: RoutedModel) -> None:
    engine = Engine()

    held = [flooded(model, engine, caller) for caller in ("one", "two", "three")]

    assert held[0] == RUNNING + SHARE * WAITING // (SHARE + 1)
    assert held[0] > held[1] > held[2] > 0
    with pytest.raises(EngineFull, match=r"48 of your answers wait already, and 1 places are left"):
        engine.require_room("one")
    engine.require_room("another")


def test_a_caller_is_taken_at_once_however_often_another_refills_the_queue(model: RoutedModel) -> None:
    engine, listeners = Engine(running=2, waiting=4), list[Listener]()

    for _ in range(40):
        flooded(model, engine, "flood")
        if not engine.held("other"):
            listeners.append(Listener())
            engine.submit([(answer_to(model, 3), listeners[-1])], caller="other")
        engine.step()

    answered = [one for one in listeners if len(one.tokens) == 3]
    assert len(answered) >= 5  # of some 13 that two places can answer in so many steps


def test_one_request_may_take_every_place_where_nobody_else_is(model: RoutedModel) -> None:
    engine = Engine(running=2, waiting=3)

    engine.submit([(answer_to(model, 3), Listener()) for _ in range(5)], caller="alone")

    with pytest.raises(EngineFull, match="2 answers are under way, 3 wait and 0 are prepared"):
        engine.require_room("other")


def passes_until_drawn(model: RoutedModel, engine: Engine, asked: list[tuple[str, int]]) -> list[int]:
    """In which pass the first token of each was drawn, of callers with prompts of such lengths."""
    works = [answer_to(model, length, tokens=2) for _, length in asked]
    for (caller, _), work in zip(asked, works, strict=True):
        engine.submit([(work, Listener())], caller=caller)
    first, number = [0] * len(asked), 0
    while not all(first):
        number += 1
        assert engine.step()
        first = [one or number * bool(work.completion_tokens) for one, work in zip(first, works, strict=True)]
    return first


def test_a_short_prompt_does_not_wait_for_the_long_ones_of_another(model: RoutedModel) -> None:
    engine = Engine()
    engine.submit([(answer_to(model, 3, tokens=200), Listener())], caller="writer")
    engine.step()

    *long, short = passes_until_drawn(model, engine, [*[("hog", 200)] * 10, ("other", 3)])

    assert short == 1
    assert long[0] == 2  # they are read one after the other, each as soon as may be
    assert max(long) == -(-(10 * 200 + 3) // PREFILL_BESIDE)  # and no pass has room to spare


def test_two_who_read_long_prompts_get_on_alike(model: RoutedModel) -> None:
    hog, other = passes_until_drawn(model, Engine(), [("hog", 240), ("other", 240)])

    assert hog == other == 2


def test_who_comes_again_and_again_has_no_more_turns_than_others(model: RoutedModel) -> None:
    engine, read = Engine(), Counter[str]()
    writer = answer_to(model, 3, tokens=200)
    engine.submit([(writer, Listener())], caller="writer")
    engine.step()
    works: list[tuple[str, Generation]] = []
    for number in range(9):
        for caller in [*"abcdefg"] if not number else []:
            works.append((caller, answer_to(model, 240)))
            engine.submit([(works[-1][1], Listener())], caller=caller)
        if not engine.held("again"):
            works.append(("again", answer_to(model, 32, tokens=1)))
            engine.submit([(works[-1][1], Listener())], caller="again")
        engine.step()
    for caller, work in works:
        read[caller] += len(work.read_tokens)

    assert read["again"] <= min(read[caller] for caller in "abcdefg") + 2 * PIECE


def test_memory_that_is_allowed_later_lets_in_who_waited_and_less_of_it_ends_nobody(
    model: RoutedModel,
) -> None:
    one = answer_to(model, 4).most_bytes
    engine, listeners = Engine(memory=one), [Listener() for _ in range(4)]
    engine.submit([(answer_to(model, 4), listener) for listener in listeners])
    begun = [engine.running]

    for memory in (3 * one, one, None):
        engine.allow(memory)
        begun.append(engine.running)
    run(engine)

    assert begun == [1, 3, 3, 4]
    assert [len(listener.tokens) for listener in listeners] == [3] * 4
