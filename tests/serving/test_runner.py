"""The thread that runs the model: if it ever ends, whoever waits is told, and no more requests are sent."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from routing.base import load_base
from routing.engine import Engine, EngineEnded
from routing.generation import Generation, Request
from routing.routed import RoutedModel
from routing.spec import BaseRef
from tests.tiny import tiny_llama
from workers.serving.health import readiness
from workers.serving.runner import Runner


class Ending(Engine):
    """Whose first step ends the thread."""

    def step(self) -> bool:
        raise SystemExit


def test_whoever_waits_for_a_thread_that_ends_is_told() -> None:
    runner = Runner(Ending())
    work = Generation(RoutedModel(load_base(BaseRef(str(tiny_llama())))), Request((5, 6), 4))

    async def asked() -> None:
        steps = runner.submit([work], caller="")
        runner.start()
        async for _ in steps:
            pass

    with pytest.raises(EngineEnded, match="thread that runs the model"):
        asyncio.run(asked())
    runner.stop()
    assert not runner.alive


def test_without_that_thread_a_process_is_not_ready() -> None:
    libraries: Any = SimpleNamespace(served={}, unreachable=None, looked=True)

    assert readiness(libraries, alive=True)[0]
    ready, report = readiness(libraries, alive=False)
    assert not ready
    assert report["status"] == "not ready"
    assert "thread" in report["missing"][-1]
