"""Clients that go away before their answer is whole: nothing is worked on that nobody will read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request

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


async def _gone(request: Request) -> None:
    """Return when the client has gone away: its body was read, so nothing else can come from it."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
