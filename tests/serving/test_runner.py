"""The thread that runs the model: if it ever ends, whoever waits is told, and no more requests are sent."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request as HttpRequest

from routing.base import load_base
from routing.engine import Engine, EngineEnded
from routing.generation import Generation, Request
from routing.routed import RoutedModel
from routing.spec import BaseRef
from tests.tiny import tiny_llama
from workers.serving.app import Server
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

    def asked(*, alive: bool) -> tuple[int, dict[str, Any]]:
        server: Any = SimpleNamespace(libraries=libraries, leaving=False, runner=SimpleNamespace(alive=alive))
        answer = asyncio.run(Server.readyz(server, HttpRequest({"type": "http"})))
        return answer.status_code, json.loads(bytes(answer.body))

    assert asked(alive=True)[0] == 200
    status, report = asked(alive=False)
    assert (status, report["status"]) == (503, "not ready")
    assert "thread that runs the model has ended" in report["missing"][-1]
