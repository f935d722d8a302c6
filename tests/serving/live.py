"""A serving process's application behind a real socket, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from openai import OpenAI

from routing.layouts import Wanted
from workers.serving.app import Server, create_app
from workers.serving.options import CallerKind, Limits, Options
from workers.serving.reporting import Hub
from workers.serving.stalls import patient
from workers.serving.telemetry import Traces


@dataclass(frozen=True)
class LiveServer:
    """An address to talk to, and the parts behind it."""

    url: str
    server: Server
    clients: ExitStack

    def client(self, **options: Any) -> Any:
        """The official client, unmodified; Any, because its types make every part of an answer optional.

        Open until the server ends.
        """
        settings: dict[str, Any] = {"api_key": "unused", "max_retries": 0, "timeout": 60} | options
        return self.clients.enter_context(OpenAI(base_url=f"{self.url}/v1", **settings))

    def post(self, path: str, **body: object) -> httpx.Response:
        """A request of our own making."""
        return httpx.post(f"{self.url}{path}", json=body, timeout=60)

    def get(self, path: str) -> httpx.Response:
        """A look at a page."""
        return httpx.get(f"{self.url}{path}", timeout=60)

    def wait_for_version(self, library: str, number: int) -> None:
        """Return once this version is served."""
        self.wait_until(lambda: self._serves(library, number))

    def wait_until(self, condition: Any) -> None:
        """Return once a condition holds; fails after half a minute."""
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline, self.get("/readyz").json()
            time.sleep(0.02)

    def _serves(self, library: str, number: int) -> bool:
        served = self.server.libraries.served.get(library)
        return served is not None and served.live is not None and served.live.number == number


@contextmanager
def live_server(
    store: str,
    *,
    limits: Limits | None = None,
    library: str | None = None,
    traces: Traces | None = None,
    callers: CallerKind = "open",
    report_to: Hub | None = None,
    send_buffer: int | None = None,
) -> Iterator[LiveServer]:
    """Serve a store on a free port until the block ends. `send_buffer`: bytes that wait in the kernel."""
    options = Options(
        store=store,
        library=library,
        callers=callers,
        poll_seconds=0.05,
        retry_seconds=0.2,
        limits=limits or Limits(),
        report_to=report_to,
        weights=Wanted("panels"),  # two servers that are compared must add up in one order
    )
    app = create_app(options, traces)
    http = patient(options.limits.stalled_seconds, app.state.server.metrics)
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="on", proxy_headers=False, http=http)
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        if send_buffer is not None:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            with ExitStack() as clients:
                url = f"http://127.0.0.1:{listening.getsockname()[1]}"
                live = LiveServer(url, app.state.server, clients)
                live.wait_until(lambda: server.started and live.server.libraries.looked)
                yield live
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()
