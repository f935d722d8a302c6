"""Requests have their places before anything is worked out for them."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
import torch

from routing import queries
from routing.engine import Engine, EngineEnded, EngineFull
from routing.routes import PromptScores
from routing.turns import Asker, Left
from tests.routing.published import PublishedLibrary
from tests.serving.live import LiveServer, live_server
from workers.serving.errors import ApiError
from workers.serving.leaving import unless_gone
from workers.serving.metrics import Metrics
from workers.serving.options import Limits
from workers.serving.preparing import Preparing

FOUR = Limits(running=2, waiting=2)
ASKED = {"model": "tales", "prompt": "gulls", "max_tokens": 1, "routing": {"router": "lm"}}


def places(limits: Limits = FOUR) -> tuple[Preparing, Engine]:
    engine = Engine(running=limits.running, waiting=limits.waiting)
    return Preparing(engine, limits, Metrics()), engine


def run(work: Coroutine[Any, Any, Any]) -> None:
    asyncio.run(work)


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def test_what_is_prepared_counts_with_what_is_answered_and_waits() -> None:
    preparing, engine = places()
    work: Any = SimpleNamespace(read_like=None)
    engine.submit([(work, lambda _step: None)], caller="ada")
    with preparing.place("ada", 2), preparing.place("cy", 1):
        assert (preparing.answers, preparing.held("ada"), preparing.held("bob")) == (3, 3, 0)
        with pytest.raises(EngineFull, match="1 answers are under way, 0 wait and 3 are prepared"):
            preparing.place("ada", 1)

    assert preparing.held("ada") == 1
    with preparing.place("ada", 2):
        assert preparing.answers == 2


def test_what_is_prepared_leaves_places_for_others_as_what_waits_does() -> None:
    preparing, _ = places(Limits(running=2, waiting=4))
    for _ in range(5):
        preparing.place("flood", 1)

    with pytest.raises(EngineFull, match="3 of your answers wait already, and 1 places are left"):
        preparing.place("flood", 1)
    assert preparing.place("ada", 1).answers == 1


def test_who_is_told_that_nothing_more_comes_has_no_place_any_more() -> None:
    preparing, _ = places()

    async def ask() -> None:
        place = preparing.place("ada", 1)
        with place:
            waiting = asyncio.ensure_future(place.kept(for_ever()))
            await asyncio.sleep(0)
            preparing.cut(EngineEnded("the end"))
            with pytest.raises(EngineEnded, match="the end"):
                await waiting
        assert preparing.answers == 0

    run(ask())


class Working:
    """What a thread works on until it is let go on, for a client who leaves as soon as that has begun."""

    def __init__(self, asker: Asker) -> None:
        self.begun, self.go_on, self.ends = threading.Event(), threading.Event(), list[object]()
        self._asker = asker

    def __call__(self) -> None:
        self.begun.set()
        assert self.go_on.wait(30)
        try:
            self._asker.require_here()
        except Left as left:
            self.ends.append(left)

    async def receive(self) -> dict[str, str]:
        await asyncio.to_thread(self.begun.wait, 30)
        return {"type": "http.disconnect"}


def test_who_leaves_keeps_one_place_while_a_thread_works_for_them() -> None:
    preparing, _ = places(Limits(running=2, waiting=1))

    async def ask() -> None:
        place = preparing.place("ada", 3)
        work = Working(place.asker)
        with pytest.raises(ApiError, match="gone away"), place:
            await unless_gone(cast("Any", work), place.kept(preparing.run(place, work)))
        assert (preparing.answers, preparing.held("ada")) == (1, 1)
        with preparing.place("bob", 2) as other:
            with pytest.raises(EngineFull, match="0 wait and 3 are prepared"):
                preparing.place("cy", 1)
            assert await preparing.run(other, lambda: "a thread is there") == "a thread is there"
        work.go_on.set()
        while preparing.answers:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0.001)
        assert len(work.ends) == 1
        with preparing.place("cy", 3):
            assert preparing.held("ada") == 0

    run(asyncio.wait_for(ask(), 60))
    preparing.end()


def test_what_has_ended_on_a_thread_keeps_no_place() -> None:
    preparing, _ = places()

    async def ask() -> None:
        for _ in range(20):
            with preparing.place("ada", 1) as place:
                await preparing.run(place, lambda: None)
            assert preparing.answers == 0

    run(ask())
    preparing.end()


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Priors say nothing before they are told to; how many read at once, and how many have begun."""
    go_on, lock = threading.Event(), threading.Lock()
    seen = SimpleNamespace(begun=0, now=0, most=0, go_on=go_on)

    def reading(known: Any, _prompt: object, _asker: object) -> PromptScores:
        with lock:
            seen.begun, seen.now = seen.begun + 1, seen.now + 1
            seen.most = max(seen.most, seen.now)
        assert go_on.wait(60)
        with lock:
            seen.now -= 1
        return PromptScores("lm", torch.zeros(len(known.pack.experts)), lambda: 0.0)

    monkeypatch.setattr(queries, "PRIORS", {"lm": reading})
    yield seen
    go_on.set()


def ask_in_threads(live: LiveServer, users: list[str]) -> Callable[[], list[int]]:
    """Ask as each of these at once; the statuses when all have ended."""
    found: list[int] = []

    def ask(user: str) -> None:
        found.append(live.post("/v1/completions", **ASKED, user=user).status_code)

    threads = [threading.Thread(target=ask, args=(user,)) for user in users]
    for thread in threads:
        thread.start()

    def ended() -> list[int]:
        for thread in threads:
            thread.join(60)
        return found

    return ended


@contextmanager
def leaving_client(live: LiveServer, user: str) -> Iterator[None]:
    """A client who has asked within this, and is gone behind it."""
    address = urlsplit(live.url)
    body = json.dumps({**ASKED, "user": user})
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection((str(address.hostname), address.port or 0)) as client:
        client.sendall((head + body).encode())
        yield
        client.shutdown(socket.SHUT_RDWR)


def test_few_prompts_are_judged_at_once_and_what_cannot_be_taken_is_refused_before_it_is_judged(
    published: PublishedLibrary, held_up: Any
) -> None:
    published.publish(1)
    limits = Limits(running=2, waiting=2)
    with live_server(published.url, limits=limits) as live:
        live.wait_for_version("tales", 1)
        preparing = live.server.preparing
        taken = [ask_in_threads(live, ["ada", "bob"])]
        live.wait_until(lambda: held_up.begun == 2)
        taken.append(ask_in_threads(live, ["cy"]))
        with leaving_client(live, "di"):
            live.wait_until(lambda: preparing.answers == 4)
            refused = live.post("/v1/completions", **ASKED, user="eve")
        live.wait_until(lambda: preparing.answers == 3)
        gauge = live.get("/metrics").text
        held_up.go_on.set()
        statuses = [status for ended in taken for status in ended()]
        counted = live.get("/metrics").text

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert "fletch_preparing 3.0" in gauge
    assert statuses == [200, 200, 200]
    assert (held_up.most, held_up.begun) == (2, 3)
    assert "fletch_prepare_seconds_count 3.0" in counted
