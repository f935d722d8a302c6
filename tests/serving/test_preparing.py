"""Requests have their places before anything is worked out for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch

from routing import queries
from routing.engine import Engine, EngineFull
from routing.routes import PromptScores
from routing.turns import Left
from tests.routing.published import PublishedLibrary
from tests.serving.live import LiveServer, live_server
from workers.serving.errors import ApiError
from workers.serving.leaving import unless_gone
from workers.serving.metrics import Metrics
from workers.serving.options import Limits
from workers.serving.preparing import Preparing

FOUR = Limits(running=2, waiting=2)


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


def test_where_all_is_taken_who_has_most_gives_up_what_came_last() -> None:
    preparing, _ = places()

    async def ask() -> None:
        flood = [preparing.place("flood", answers) for answers in (2, 1)]
        waiting = [asyncio.ensure_future(place.kept(for_ever())) for place in flood]
        await asyncio.sleep(0)

        others = [preparing.place(name, 1) for name in ("ada", "bob")]

        ended = await asyncio.gather(waiting[1], return_exceptions=True)
        assert [type(one) for one in ended] == [EngineFull]
        assert not waiting[0].done()
        assert [preparing.held(name) for name in ("flood", "ada", "bob")] == [2, 1, 1]
        with pytest.raises(EngineFull):  # nobody has more than this caller would then have
            preparing.place("ada", 1)
        assert [place.asker.gone for place in others] == [False, False]
        for one in waiting:
            one.cancel()

    run(ask())


def test_who_leaves_gives_their_place_back_though_a_thread_still_works_for_them() -> None:
    preparing, _ = places(Limits(running=1, waiting=0))
    begun, go_on, ends = threading.Event(), threading.Event(), list[object]()

    async def ask() -> None:
        place = preparing.place("ada", 1)

        def work() -> None:
            begun.set()
            assert go_on.wait(30)
            try:
                place.asker.require_here()
            except Left as left:
                ends.append(left)

        async def receive() -> dict[str, str]:
            await asyncio.to_thread(begun.wait, 30)
            return {"type": "http.disconnect"}

        request: Any = SimpleNamespace(receive=receive)
        with pytest.raises(ApiError, match="gone away"), place:
            await unless_gone(request, place.kept(preparing.run(work)))
        assert not ends
        with preparing.place("bob", 1):
            go_on.set()

    run(ask())
    preparing.end()
    preparing._threads.shutdown()
    assert len(ends) == 1


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Priors say nothing before they are told to; how many read at once, and how many have begun."""
    go_on, lock = threading.Event(), threading.Lock()
    seen = SimpleNamespace(begun=0, now=0, most=0, go_on=go_on)

    def reading(known: Any, _prompt: object) -> PromptScores:
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


def ask_in_threads(live: LiveServer, users: list[str], **more: Any) -> Callable[[], list[int]]:
    """Ask as each of these at once; the statuses when all have ended."""
    body = {"model": "tales", "prompt": "gulls", "max_tokens": 1, "routing": {"router": "lm"}, **more}
    found: list[int] = []

    def ask(user: str) -> None:
        found.append(live.post("/v1/completions", **body, user=user).status_code)

    threads = [threading.Thread(target=ask, args=(user,)) for user in users]
    for thread in threads:
        thread.start()

    def ended() -> list[int]:
        for thread in threads:
            thread.join(60)
        return found

    return ended


def test_few_prompts_are_judged_at_once_and_what_cannot_be_taken_is_refused_before_it_is_judged(
    published: PublishedLibrary, held_up: Any
) -> None:
    published.publish(1)
    limits = Limits(running=2, waiting=2)
    with live_server(published.url, limits=limits) as live:
        live.wait_for_version("tales", 1)
        preparing = live.server.preparing
        taken = [ask_in_threads(live, ["ada", "ada"])]
        live.wait_until(lambda: preparing.answers == 2)
        taken.append(ask_in_threads(live, ["bob", "cy"]))
        live.wait_until(lambda: preparing.answers == 4 and held_up.begun == 2)
        refused = live.post("/v1/completions", model="tales", prompt="gulls", max_tokens=1, user="ada")
        with pytest.raises(httpx.ReadTimeout):  # a client that leaves
            httpx.post(
                f"{live.url}/v1/completions",
                json={"model": "tales", "prompt": "x", "user": "di", "routing": {"router": "lm"}},
                timeout=0.5,
            )
        live.wait_until(lambda: preparing.held((None, "127.0.0.1", "di")) == 0)
        gauge = live.get("/metrics").text
        held_up.go_on.set()
        statuses = [status for ended in taken for status in ended()]
        counted = live.get("/metrics").text

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert "fletch_preparing 3.0" in gauge
    assert sorted(statuses) == [200, 200, 200, 429]
    assert (held_up.most, held_up.begun) == (2, 3)
    assert "fletch_prepare_seconds_count 3.0" in counted
