"""Clients that go away before their answer is whole: nothing is worked on that nobody will read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, closing
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from workers.serving.errors import gone_away, let_go

Event = TypeVar("Event")
Result = TypeVar("Result")


async def unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` comes to; cancelled, and ApiError, when the client of this request goes away before."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise gone_away()
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def held_by_nobody(events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """The same events; when the client goes away what they came from goes at once.

    What then cancels the response keeps the error in a variable of a call that is in the error's traceback,
    and with the traceback all calls below it: an answer's memory and its version would stay until somebody
    looks for garbage.
    """
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    except BaseException as error:
        let_go(error)
        raise


class Closed(Protocol):
    """What has to be closed."""

    def close(self) -> None:
        """Once, or more often."""


class EventStream(StreamingResponse):
    """Server-sent events; what they come from is closed, also where nobody was there any more to begin."""

    def __init__(self, events: AsyncGenerator[bytes, None], *, closes: Closed) -> None:
        super().__init__(
            held_by_nobody(events), media_type="text/event-stream", headers={"Cache-Control": "no-cache"}
        )
        self._closes = closes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._closes):
            await super().__call__(scope, receive, send)


async def _gone(request: Request) -> None:
    """Return when the client has gone away: its body was read, so nothing else can come from it."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
