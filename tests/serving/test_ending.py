"""A serving process that is told to end: who waits is answered, or told that nothing more comes."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
import uvicorn

from routing.generation import Generation
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.live import live_server
from workers.serving.ending import FLUSH, EndingServer


@dataclass
class Watched:
    """An application whose part in its end is written down."""

    did: list[str] = field(default_factory=list)

    def leave(self) -> None:
        self.did.append("leave")

    def cut(self) -> None:
        self.did.append("cut")


@dataclass
class Ending:
    """A server of it at a time that the test says."""

    watched: Watched = field(default_factory=Watched)
    now: float = 0.0

    def __post_init__(self) -> None:
        config = uvicorn.Config(lambda: None, timeout_graceful_shutdown=None)
        self.server = EndingServer(config, self.watched, grace=30, clock=lambda: self.now)
        self.server.server_state.tasks.add(Mock())  # a request

    def ends(self) -> bool:
        """Whether it stops listening at its next look."""
        return asyncio.run(self.server.on_tick(1))

    def tell(self, number: int = signal.SIGTERM) -> None:
        self.server.handle_exit(number, None)


def test_it_listens_until_nobody_waits() -> None:
    ending = Ending()
    assert not ending.ends()
    ending.tell()
    ending.now = 29.0

    looks = [ending.ends(), ending.ends()]
    ending.server.server_state.tasks.clear()

    assert looks == [False, False]
    assert ending.ends()
    assert ending.watched.did == ["leave"]


def test_what_takes_longer_is_told_that_it_ends() -> None:
    ending = Ending()
    ending.tell()
    assert not ending.ends()
    ending.now = 30.0

    assert ending.ends()
    assert ending.watched.did == ["leave", "cut"]
    assert ending.server.config.timeout_graceful_shutdown == FLUSH


def test_a_second_interrupt_waits_for_nobody() -> None:
    ending = Ending()
    ending.tell(signal.SIGINT)
    assert not ending.ends()
    ending.tell(signal.SIGINT)

    assert ending.ends()


def test_idle_connections_are_closed_at_once_so_that_their_clients_go_elsewhere() -> None:
    ending, connection = Ending(), Mock()
    ending.server.server_state.connections.add(connection)
    ending.tell()
    for _ in range(2):
        ending.ends()

    connection.shutdown.assert_called_once_with()


def test_who_waits_when_time_is_up_gets_an_error_event_and_who_comes_a_refusal(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(1)
    go_on, hear = threading.Event(), Generation.hear

    def slowly(*given: Any) -> Any:
        assert go_on.wait(60)
        return hear(*given)

    monkeypatch.setattr(Generation, "hear", slowly)
    body = {"model": "tales", "prompt": TEXT, "max_tokens": 5, "stream": True}
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        with httpx.stream("POST", f"{live.url}/v1/completions", json=body, timeout=60) as answer:
            live.server.leave()
            ready, late = live.get("/readyz"), live.post("/v1/completions", **body)
            live.server.cut()
            events = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
        live.wait_until(lambda: "fletch_broken_streams_total{" in live.get("/metrics").text)
        counted = live.get("/metrics").text
        go_on.set()

    assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
    assert "this process is being stopped" in ready.json()["missing"]
    assert (late.status_code, late.json()["error"]["code"]) == (503, "stopping")
    last = json.loads(events[-1])["error"]
    assert (last["code"], "this process is being stopped" in last["message"]) == ("engine_ended", True)
    assert 'fletch_broken_streams_total{endpoint="/v1/completions"} 1.0' in counted
