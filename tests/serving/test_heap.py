"""Garbage is looked for when nobody waits for an answer, or else seldom."""

from __future__ import annotations

import gc
import platform
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from routing.engine import Engine
from workers.serving import heap
from workers.serving.heap import AT_LATEST, WHEN_IDLE, Collector
from workers.serving.runner import Runner


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Node:
    """One that may hold itself, so that only a collection finds it."""

    alive = 0

    def __init__(self) -> None:
        self.held = self
        Node.alive += 1

    def __del__(self) -> None:
        Node.alive -= 1


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def look_at(seconds: float, *, busy: bool, clock: Clock, collector: Collector) -> int:
    """How many of two that hold themselves are left after a look at this moment."""
    gc.collect()
    gc.disable()  # so that nobody else finds them
    try:
        Node()
        Node()
        clock.now = seconds
        collector.look(busy=busy)
        return Node.alive
    finally:
        gc.enable()


def test_while_somebody_is_answered_it_waits_and_looks_at_last() -> None:
    clock = Clock()
    collector = Collector(clock)

    assert look_at(WHEN_IDLE, busy=True, clock=clock, collector=collector) == 2
    assert look_at(AT_LATEST - 1, busy=True, clock=clock, collector=collector) == 2
    assert look_at(AT_LATEST, busy=True, clock=clock, collector=collector) == 0
    assert look_at(AT_LATEST + 1, busy=True, clock=clock, collector=collector) == 2


def test_when_nobody_is_it_looks_soon_and_once() -> None:
    clock = Clock()
    collector = Collector(clock)

    collector.look(busy=True)
    assert look_at(WHEN_IDLE - 1, busy=False, clock=clock, collector=collector) == 2
    assert look_at(WHEN_IDLE, busy=False, clock=clock, collector=collector) == 0
    assert look_at(3 * WHEN_IDLE, busy=False, clock=clock, collector=collector) == 2


def test_the_interpreter_looks_through_everything_no_more_by_itself() -> None:
    young, older, _ = gc.get_threshold()

    heap.collect_when_told()
    gc.collect()
    full = gc.get_stats()[2]["collections"]
    held = [Node() for _ in range(100 * young * older)]  # many times what makes it look otherwise

    assert gc.get_threshold()[:2] == (young, older)
    assert gc.get_stats()[1]["collections"] > 0
    assert gc.get_stats()[2]["collections"] == full
    for node in held:
        del node.held


def test_the_model_s_thread_asks_it_while_there_is_nothing_to_do() -> None:
    asked = threading.Event()

    class Asked(Collector):
        def look(self, *, busy: bool) -> None:
            assert not busy
            asked.set()

    runner = Runner(Engine(), Asked())
    runner.start()
    try:
        assert asked.wait(30)
    finally:
        runner.stop()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has heaps of its own kind")
def test_what_became_free_on_the_way_goes_back_to_the_system() -> None:
    many = [bytearray(4_000) for _ in range(50_000)]
    kept = many[::50]  # between what is free, so that the C library cannot give back a heap's end
    del many
    before = _memory()

    heap.settle()
    gc.unfreeze()

    assert len(kept) == 1_000
    assert before - _memory() > 100 * 2**20


def _memory() -> int:
    """Bytes of this process's own memory."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
