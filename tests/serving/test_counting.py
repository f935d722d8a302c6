"""What an answer takes is counted and charged as it is read and written, whoever reads it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from routing.base import load_base
from routing.engine import Engine
from routing.generation import Generation, Request
from routing.routed import RoutedModel
from routing.spec import BaseRef
from routing.work import PREFILL_CHUNK, Work
from tests.tiny import tiny_llama
from workers.serving.counting import Counting
from workers.serving.journal import Entry
from workers.serving.metrics import Metrics
from workers.serving.runner import Runner, Steps

PROMPT = tuple(range(5, 5 + PREFILL_CHUNK + 40))
WRITTEN = 3


@pytest.fixture(scope="module")
def model() -> RoutedModel:
    return RoutedModel(load_base(BaseRef(str(tiny_llama()))))


class Asked:
    """A request's works in an engine that steps when it is told to, and what was charged for them."""

    def __init__(self, model: RoutedModel, answers: int) -> None:
        request = [Request(PROMPT, WRITTEN, ignore_ends=True, choice=choice) for choice in range(answers)]
        self.works: Sequence[Work] = [Generation(model, one) for one in request]
        self.runner = Runner(Engine(running=2, waiting=4))
        self.entry = Entry("a-name", "POST", "/v1/completions")
        self.charged = list[int]()
        target: Any = SimpleNamespace(library="tales", version=None)
        self.counting = Counting(target, self.works, answers, Metrics(), self.entry, self.charged.append)

    def begin(self) -> Steps:
        return self.runner.submit(self.works, caller="ada", told=self.counting.charge_new)

    async def step(self, times: int) -> None:
        for _ in range(times):
            assert self.runner.engine.step()
        await asyncio.sleep(0)

    async def give_up(self, steps: Steps) -> None:
        """As a client does that leaves while it waits for more."""
        events = self.counting.counted(steps)
        following = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        following.cancel()
        await asyncio.wait([following])
        await events.aclose()


@pytest.fixture(params=[1, 3])
def asked(request: pytest.FixtureRequest, model: RoutedModel) -> Asked:
    return Asked(model, request.param)


def test_what_nobody_reads_is_charged_too(asked: Asked) -> None:
    async def wait() -> None:
        asked.begin()
        while asked.runner.engine.running:
            await asked.step(1)

    asyncio.run(wait())

    assert sum(asked.charged) == len(PROMPT) + len(asked.works) * WRITTEN


def test_a_prompt_that_was_not_read_is_neither_charged_nor_counted(asked: Asked) -> None:
    async def leave() -> None:
        await asked.give_up(asked.begin())

    asyncio.run(leave())

    assert sum(asked.charged) == 0
    assert asked.entry.prompt_tokens == 0


def test_of_a_prompt_that_was_begun_what_was_read_is_charged_and_counted(asked: Asked) -> None:
    async def leave() -> None:
        steps = asked.begin()
        await asked.step(1)
        events = asked.counting.counted(steps)
        await anext(events)
        await events.aclose()

    asyncio.run(leave())

    assert sum(asked.charged) == PREFILL_CHUNK
    assert asked.entry.prompt_tokens == PREFILL_CHUNK
