"""Turns: who is next, and who does not want to be any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from routing import queries
from routing.queries import QueryRouter
from routing.turns import Asker, Left, Turns


@dataclass
class Queue:
    """Threads that wait for turns, one behind the other, while a turn is held."""

    turns: Turns
    threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(16))
    order: list[str] = field(default_factory=list)

    def come(self, asker: Asker, cost: float = 1.0, work: Callable[[], Any] = lambda: None) -> Future[None]:
        """One more waits; returns once it does."""
        before = self.turns.waiting

        def wait() -> None:
            with asker.turn(cost):
                self.order.append(str(asker.name))
                work()

        coming = self.threads.submit(wait)
        self.await_waiting(before + 1)
        return coming

    def await_waiting(self, count: int) -> None:
        with self.turns._changed:
            assert self.turns._changed.wait_for(lambda: self.turns.waiting == count, timeout=30)


def test_who_asks_for_much_lets_the_others_by() -> None:
    turns = Turns(1)
    queue = Queue(turns)
    with Asker("first", turns).turn(1):
        coming = [queue.come(Asker("flood", turns)) for _ in range(3)]
        coming += [queue.come(Asker(name, turns)) for name in ("ada", "bob")]
    for one in coming:
        one.result(30)

    assert queue.order == ["flood", "ada", "bob", "flood", "flood"]


def test_a_long_prompt_counts_for_more_than_a_short_one() -> None:
    turns = Turns(1)
    queue = Queue(turns)
    with Asker("first", turns).turn(1):
        coming = [queue.come(Asker("long", turns), 1000), queue.come(Asker("long", turns), 1000)]
        coming += [queue.come(Asker("short", turns), 10) for _ in range(3)]
    for one in coming:
        one.result(30)

    assert queue.order == ["long", "short", "short", "short", "long"]


def test_a_name_has_one_turn_at_once_however_many_are_free() -> None:
    turns = Turns(2)
    queue = Queue(turns)
    with Asker("ada", turns).turn(1):
        second = queue.come(Asker("ada", turns))
        with Asker("bob", turns).turn(1):
            assert turns.waiting == 1
    second.result(30)

    assert queue.order == ["ada"]


def test_who_leaves_waits_no_longer_and_costs_nobody_a_turn() -> None:
    turns = Turns(1)
    queue, leaving = Queue(turns), Asker("leaving", turns)
    with Asker("first", turns).turn(1):
        gone = queue.come(leaving)
        stays = queue.come(Asker("staying", turns))
        leaving.leave()
        with pytest.raises(Left):
            gone.result(30)
    stays.result(30)

    assert queue.order == ["staying"]
    with pytest.raises(Left), leaving.turn(1):
        pytest.fail("nobody wants this any more")


def test_a_turn_that_fails_is_given_back() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError), Asker("ada", turns).turn(1):
        raise ZeroDivisionError

    with Asker("ada", turns).turn(1):
        assert turns.waiting == 0


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The prompts that a prior has read, in a world where that is all it does."""
    read: list[tuple[int, ...]] = []

    def reading(_known: object, prompt: tuple[int, ...], _asker: Asker) -> object:
        read.append(prompt)
        return SimpleNamespace()

    monkeypatch.setattr(queries, "PRIORS", {"lm": reading})
    return read


def router() -> QueryRouter:
    nothing: Any = SimpleNamespace()
    known: Any = SimpleNamespace(cost=lambda _prior, prompt: len(prompt))
    return QueryRouter(nothing, nothing, known=known)


def test_what_a_prior_said_is_remembered_for_who_asked_and_for_nobody_else(read: list[Any]) -> None:
    asked = router()
    ada, bob = Asker("ada"), Asker("bob")

    said = [asked.scores("lm", (1, 2), asker) for asker in (ada, Asker("ada"), bob, bob)]

    assert said[0] is said[1]
    assert said[2] is said[3]
    assert said[0] is not said[2]
    assert read == [(1, 2), (1, 2)]


def test_one_asker_s_requests_for_the_same_prompt_read_it_once(read: list[Any]) -> None:
    turns, asked = Turns(2), router()
    waiting, go_on = threading.Event(), threading.Event()
    queue = Queue(turns)

    def slowly() -> None:
        waiting.set()
        assert go_on.wait(30)

    first = queue.threads.submit(lambda: _within(Asker("ada", turns), slowly))
    assert waiting.wait(30)
    both = [queue.threads.submit(asked.scores, "lm", (1, 2), Asker("ada", turns)) for _ in range(2)]
    queue.await_waiting(2)
    go_on.set()

    assert both[0].result(30) is both[1].result(30)
    first.result(30)
    assert read == [(1, 2)]


def test_nothing_is_read_for_who_has_left(read: list[Any]) -> None:
    asker = Asker("ada", Turns(1))
    asker.leave()

    with pytest.raises(Left):
        router().scores("lm", (1, 2), asker)
    assert read == []


def _within(asker: Asker, work: Callable[[], None]) -> None:
    with asker.turn(1):
        work()
