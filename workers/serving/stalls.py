"""Clients that stand still: who takes nothing of an answer is cut off, whose body does not come is told.

Who does not even send the head of a request is cut off too.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import sys
from collections.abc import Callable, Mapping
from functools import partial
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, cast

from starlette.requests import ClientDisconnect, Request
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from workers.serving.errors import ApiError, gone_away
from workers.serving.journal import STALLED, Entry
from workers.serving.metrics import NOWHERE, Metrics
from workers.serving.options import Limits

if sys.platform != "win32":
    import fcntl
    import termios

log = logging.getLogger(__name__)
LOOKS = 30  # at a client that stands still, before it is given up
SLOWEST = 1024  # bytes of a body in a second, beyond the time in which nothing at all may come


class Watch:
    """Looks whether a client takes anything of what waits for it. For the event loop alone.

    Looks are counted, and not time: a process that was held up itself has not given anybody the time.
    """

    def __init__(self, waiting: Callable[[], int], seconds: float, lost: Callable[[], None]) -> None:
        """`waiting`: bytes; `lost` is called once, when in `seconds` these have not become fewer."""
        self._waiting = waiting
        self._pause = seconds / LOOKS
        self._lost = lost
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Something waits from now on."""
        self.end()
        self._look_again(self._waiting(), 0)

    def end(self) -> None:
        """Nothing waits any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self, least: int, vain: int) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._pause, self._look, least, vain)

    def _look(self, least: int, vain: int) -> None:
        waiting = self._waiting()
        vain = vain + 1 if waiting >= least else 0
        if vain < LOOKS:
            self._look_again(min(waiting, least), vain)
            return
        self._timer = None
        self._lost()


class Expecting(H11Protocol):
    """HTTP as uvicorn speaks it, where the head of a request has to be whole in time.

    Of uvicorn's own there is a time in which something must come behind an answer, and none for what has to
    come then, or at first.
    """

    within: float  # seconds
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as there
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        if cycle is not None and not cycle.response_complete:
            self._expect_nothing()
        elif self._timer is None:  # which goes on, however often a little comes
            self._expect()

    def _expect(self) -> None:
        self._timer = self.loop.call_later(self.within, self.timeout_keep_alive_handler)

    def _expect_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def patient(seconds: float, metrics: Metrics) -> type[H11Protocol]:
    """HTTP as uvicorn speaks it, to clients that may stand still for so long.

    An answer is written no further than its client's machine takes it, so that it waits in one place only.
    """

    class Patient(Expecting):
        within = seconds

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as there
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)
            self._watch = Watch(partial(unread_bytes, transport), seconds, self._cut)

        def connection_lost(self, exc: Exception | None) -> None:
            self._watch.end()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._watch.begin()

        def resume_writing(self) -> None:
            self._watch.end()
            super().resume_writing()

        def _cut(self) -> None:
            scope = cast("Mapping[str, Any] | None", self.scope)  # None where no request could be read
            _count(None if scope is None else scope["state"].get("entry"), seconds, metrics)
            _abort(self.transport)

    return Patient


def unread_bytes(transport: asyncio.WriteTransport) -> int:
    """How much of what was sent the other end has not taken; what the kernel has counts on Linux alone."""
    return transport.get_write_buffer_size() + _in_kernel(transport.get_extra_info("socket"))


def _abort(transport: asyncio.Transport) -> None:
    """End a connection with all that waits for its client: to close it would wait until that is taken."""
    socket = transport.get_extra_info("socket")
    if socket is not None:
        socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))  # or the kernel would go on to try
    transport.abort()


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body. ApiError if it is too large, of which no more is read then, or comes too slowly."""
    content, loop, seconds = bytearray(), asyncio.get_running_loop(), limits.stalled_seconds
    latest = loop.time() + seconds
    try:
        async with asyncio.timeout_at(latest) as deadline:
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.body_bytes:
                    said = f"the body is larger than {limits.body_bytes} bytes"
                    raise ApiError(413, said, code="request_too_large")
                deadline.reschedule(latest + len(content) / SLOWEST)
    except ClientDisconnect as error:
        raise gone_away() from error
    except TimeoutError as error:
        said = (
            f"found {len(content)} bytes of the body when its time was over, expected all of them within "
            f"{seconds:g} s and a second more for each {SLOWEST} bytes"
        )
        raise ApiError(408, said, code="request_timeout") from error
    return bytes(content)


def _in_kernel(socket: Any) -> int:
    """Bytes that the kernel has and the other end has not acknowledged (SIOCOUTQ, tcp(7))."""
    if sys.platform != "linux" or socket is None:
        return 0
    try:
        (size,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(4)))
    except OSError:  # it is closed, or no socket of the network
        return 0
    return int(size)


def _count(entry: Entry | None, seconds: float, metrics: Metrics) -> None:
    """Tell of a client that was cut off: in its request's line, or in another where that is written."""
    route = None if entry is None else entry.route
    metrics.stalled.labels(route or NOWHERE).inc()
    if entry is not None and entry.ended is None:
        entry.error = STALLED
        return
    name = "(unknown)" if entry is None else entry.id
    log.warning("%s: the client took nothing more of its answer for %g s and is cut off", name, seconds)
