"""The thread that runs the model: if it ever ends, whoever waits is told, and no more requests are sent."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.requests import Request as HttpRequest

from routing.base import load_base
from routing.engine import Engine, EngineEnded
from routing.generation import Generation, Request
from routing.routed import RoutedModel
from routing.sampling import Sampling
from routing.spec import BaseRef
from tests.tiny import tiny_llama
from workers.serving import runner
from workers.serving.app import Server
from workers.serving.leaving import EventStream
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


def answering(tokens: int) -> Generation:
    model = RoutedModel(load_base(BaseRef(str(tiny_llama()))))
    return Generation(model, Request((5, 6), tokens, sampling=Sampling(0.0)))


def test_the_engine_waits_for_a_reader_who_is_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MOST_UNREAD", 10)
    running, work = Runner(Engine()), answering(60)
    most = 0

    async def step() -> bool:
        busy = running.engine.step()
        await asyncio.sleep(0)  # what it tells comes to the event loop
        return busy

    async def asked() -> int:
        nonlocal most
        steps = running.submit([work], caller="ada")
        while await step():
            most = work.completion_tokens
        seen = 0
        async for _, told in steps:
            seen += len(told.tokens)
            most = max(most, work.completion_tokens - seen)
            await step()
        assert running.engine.held("ada") == 1
        steps.close()
        assert running.engine.held("ada") == 0
        return seen

    assert asyncio.run(asked()) == work.completion_tokens == 60
    assert 10 <= most <= 12


def test_a_stream_that_nobody_is_there_to_begin_gives_its_place_back() -> None:
    running = Runner(Engine())

    async def events() -> AsyncGenerator[bytes, None]:
        yield b"never asked for"

    async def nobody(*_: object) -> dict[str, str]:
        return {"type": "http.disconnect"}

    async def send(_message: object) -> None:
        await asyncio.Event().wait()

    async def asked() -> None:
        steps = running.submit([answering(4)], caller="ada")
        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        await EventStream(events(), closes=steps)(scope, nobody, send)

    asyncio.run(asked())

    assert running.engine.held("ada") == 0


def test_steps_that_were_closed_hold_nothing() -> None:
    gc.disable()
    try:
        running, held = Runner(Engine()), list[weakref.ref[Generation]]()

        async def asked() -> None:
            work = answering(4)
            held.append(weakref.ref(work))
            running.submit([work], caller="ada").close()

        asyncio.run(asked())
        assert held[0]() is None
    finally:
        gc.enable()
