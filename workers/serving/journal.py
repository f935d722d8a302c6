"""What became of each request, for the log and for traces: who asked whom, and how long it took.

Nothing of what was asked or answered is ever in it.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADER = "X-Request-Id"
SANE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
DIGITS = 4  # of seconds
GONE = "client_closed_request"
STALLED = "client_stalled"  # the client took nothing of its answer for so long that it was cut off
PIECE = 2**16  # bytes of an answer that the server gets at once: it waits behind each until all are sent
BEGAN_WELL = 200

LOOKED_AT = ("/healthz", "/readyz", "/metrics")  # every few seconds, by machines
TRACE_HEADERS = ("traceparent", "tracestate")  # https://www.w3.org/TR/trace-context/


class Ended(NamedTuple):
    """The end of one of a request's answers."""

    place: int
    reason: str
    time: float


@dataclass
class Entry:
    """One request. Times are of `time.monotonic`, but for `at`: the time of day (seconds since 1970).

    `submitted`: its answers were given to the engine; `admitted`: the first of them takes turns;
    `first_token`: one has read its prompt and says something; `answered`: all have ended, or were given up.
    None is what did not happen.
    """

    id: str
    method: str
    path: str
    trace_headers: Mapping[str, str] = field(default_factory=dict)
    route: str | None = None
    at: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    address: str | None = None  # from which it came
    caller: str | None = None  # the address, or who a pass says it is
    library: str | None = None
    version: int | None = None
    router: str | None = None
    streamed: bool = False
    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    recalled_tokens: int = 0
    submitted: float | None = None
    admitted: float | None = None
    first_token: float | None = None
    answered: float | None = None
    ends: list[Ended] = field(default_factory=list)
    ended: float | None = None
    status: int | None = None
    error: str | None = None

    @property
    def looked_at(self) -> bool:
        """Whether it is one of the many looks that machines take at this process."""
        return self.path in LOOKED_AT

    @property
    def broke_off(self) -> bool:
        """Whether a stream that began well did not end well, through our fault."""
        return self.status == BEGAN_WELL and self.error not in (None, GONE, STALLED)

    @property
    def fields(self) -> dict[str, Any]:
        """What the log says of it; what does not apply is left out."""
        said = {
            "request_id": self.id,
            "status": self.status,
            "seconds": _seconds(self.began, self.ended),
            "caller": self.caller,
            "library": self.library,
            "version": self.version,
            "router": self.router,
            "streamed": self.streamed or None,
            "answers": self.answers or None,
            "prompt_tokens": self.prompt_tokens or None,
            "completion_tokens": self.completion_tokens or None,
            "recalled_tokens": self.recalled_tokens or None,
            "queue_seconds": _seconds(self.submitted, self.admitted),
            "first_token_seconds": _seconds(self.began, self.first_token),
            "error": self.error,
        }
        return {name: value for name, value in said.items() if value is not None}


Told = Callable[[Entry], None]
_CURRENT: ContextVar[Entry | None] = ContextVar("entry", default=None)


def current() -> Entry | None:
    """The request that this code runs for, if it runs for one."""
    return _CURRENT.get()


class Journal:
    """Middleware: gives every request a name and an entry, and tells of it when its answer has ended."""

    def __init__(self, app: ASGIApp, *, told: Sequence[Told]) -> None:
        self._app = app
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        entry = _entry(scope)
        scope.setdefault("state", {})["entry"] = entry
        token = _CURRENT.set(entry)
        whole = False

        async def noted(message: Message) -> None:
            nonlocal whole
            if message["type"] == "http.response.start":
                entry.status = message["status"]
                MutableHeaders(scope=message)[HEADER] = entry.id
            for part in _in_pieces(message):
                await send(part)
            whole = whole or (message["type"] == "http.response.body" and not message.get("more_body", False))

        try:
            await self._app(scope, receive, noted)
        finally:
            _CURRENT.reset(token)
            entry.ended = time.monotonic()
            if not whole:
                entry.error = entry.error or GONE
            for told in self._told:
                told(entry)


def _in_pieces(message: Message) -> Iterator[Message]:
    """The same to whoever reads it: an answer that waits for its reader is then still under way."""
    body = message.get("body", b"")
    last = max(0, len(body) - 1) // PIECE * PIECE
    for start in range(0, last, PIECE):
        yield {**message, "body": body[start : start + PIECE], "more_body": True}
    yield {**message, "body": body[last:]} if last else message


def _entry(scope: Scope) -> Entry:
    """A request's own name is kept if it is short and plain: logs and headers must hold it as it is."""
    headers = Headers(scope=scope)
    given = headers.get(HEADER, "")
    name = given if SANE.fullmatch(given) else uuid.uuid4().hex
    client = scope.get("client")
    entry = Entry(name, scope["method"], scope["path"])
    entry.trace_headers = {name: headers[name] for name in TRACE_HEADERS if name in headers}
    entry.address = entry.caller = None if client is None else client[0]
    return entry


def _seconds(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round(end - start, DIGITS)
