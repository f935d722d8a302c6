"""What a request held is let go with its error: nobody has to look for garbage before others have the room."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncGenerator, Iterator
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from starlette.responses import StreamingResponse

from workers.serving.answers import answer_stream
from workers.serving.app import _counted
from workers.serving.errors import ApiError
from workers.serving.leaving import held_by_nobody
from workers.serving.metrics import Metrics


class Experts:
    """What a request holds."""


@pytest.fixture(autouse=True)
def nobody_looks_for_garbage() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def fail(cause: Exception) -> NoReturn:
    """Raise an error that this call has in a variable: they keep each other."""
    error = ApiError(503, "told to the client", code="gone")
    raise error from cause


def test_a_refused_request_holds_nothing() -> None:
    held: list[weakref.ref[Experts]] = []

    async def endpoint(_request: object) -> NoReturn:
        experts = Experts()
        held.append(weakref.ref(experts))

        async def work() -> NoReturn:
            assert isinstance(experts, Experts)
            try:
                raise OSError("a file is gone")  # noqa: TRY301
            except OSError as error:
                cause = error
            fail(cause)

        working = asyncio.ensure_future(work())
        await asyncio.wait([working])
        working.result()
        raise AssertionError

    request: Any = SimpleNamespace(state=SimpleNamespace(entry=SimpleNamespace(id="1")))
    answered: Any = _counted("/v1/completions", endpoint, Metrics())
    response = asyncio.run(answered(request))

    assert response.status_code == 503
    assert held[0]() is None


def test_a_stream_that_breaks_off_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("workers.serving.errors"), "disabled", True)  # pytest keeps lines

    class Job:
        envelope = SimpleNamespace(id="1")
        counting = SimpleNamespace(entry=SimpleNamespace(error=None))

        def begin(self) -> NoReturn:
            fail(OSError("a step failed"))

    async def read(job: Any, steps: Any) -> list[bytes]:
        return [event async for event in answer_stream(job, steps, include_usage=False)]

    job, steps = Job(), Experts()
    held = weakref.ref(steps)
    events = asyncio.run(read(job, steps))
    del steps

    assert b"told to the client" in events[0]
    assert job.counting.entry.error == "gone"
    assert held() is None


async def _left_after_the_first(response: StreamingResponse) -> None:
    """What a server does whose client has read one event and goes away."""
    gone = asyncio.Event()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message.get("body"):
            gone.set()

    await response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)


def test_a_stream_whose_client_goes_away_holds_nothing() -> None:
    experts = Experts()
    held = weakref.ref(experts)

    async def events(holding: Experts) -> AsyncGenerator[bytes, None]:
        yield b"first"
        await asyncio.Event().wait()
        yield repr(holding).encode()

    response = StreamingResponse(held_by_nobody(events(experts)))
    del experts
    asyncio.run(_left_after_the_first(response))
    del response

    assert held() is None
