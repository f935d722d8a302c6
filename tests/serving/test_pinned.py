"""Index versions that requests name: held for a while, and in nobody's way."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from routing.turns import Asker, Left
from tests.routing.published import PublishedLibrary
from tests.serving.live import LiveServer, live_server
from workers.serving import library, versions
from workers.serving.library import Library
from workers.serving.options import Limits
from workers.serving.pinned import Pinned
from workers.serving.versions import Version

MEMBERS = [["ada/plain"], ["ada/plain", "bob/wide"], ["eve/late"]]


def say(live: LiveServer, **more: Any) -> httpx.Response:
    body = {"model": "tales", "prompt": "The mill", "max_tokens": 2, "temperature": 0}
    return live.post("/v1/completions", **body | more)


@contextmanager
def reading_slowly(monkeypatch: pytest.MonkeyPatch, number: int) -> Iterator[threading.Event]:
    """Versions of this number are read only once the block ends; the event says that one is being read."""
    begun, go_on, assemble = threading.Event(), threading.Event(), versions.assemble

    def slowly(*args: Any, **named: Any) -> Version:
        if named["current"].number == number:
            begun.set()
            assert go_on.wait(60)
        return assemble(*args, **named)

    monkeypatch.setattr(library, "assemble", slowly)
    try:
        yield begun
    finally:
        go_on.set()


def test_a_new_version_is_served_while_an_old_one_is_being_read(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, members in enumerate(MEMBERS, start=1):
        published.publish(number, members)
    answers: list[httpx.Response] = []
    with live_server(published.url) as live:
        live.wait_for_version("tales", 3)
        assert say(live, model="tales@2").status_code == 200
        with reading_slowly(monkeypatch, 1) as begun:
            asker = threading.Thread(target=lambda: answers.append(say(live, model="tales@1")))
            asker.start()
            assert begun.wait(30)

            published.publish(4, MEMBERS[1])
            live.wait_for_version("tales", 4)
            held = say(live, model="tales@2")
        asker.join()

    assert held.json()["fletch"]["version"] == 2, "one that is held needs no reading"
    assert answers[0].json()["fletch"]["version"] == 1


def test_few_may_wait_for_versions_and_the_others_are_told_so(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, members in enumerate(MEMBERS, start=1):
        published.publish(number, members)
    with live_server(published.url, limits=Limits(pinned_waiting=1)) as live:
        live.wait_for_version("tales", 3)
        with reading_slowly(monkeypatch, 1) as begun:
            asker = threading.Thread(target=lambda: say(live, model="tales@1"))
            asker.start()
            assert begun.wait(30)

            refused, current = say(live, routing={"version": 2}), say(live)
        asker.join()
        later = say(live, routing={"version": 2})

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "version_busy")
    assert refused.headers["Retry-After"] == "1"
    assert (current.status_code, later.status_code) == (200, 200)


def test_a_version_is_not_read_for_who_has_left_before() -> None:
    asker, read = Asker("ada"), list[int]()
    asked: Any = SimpleNamespace(live=None, _pinned=Pinned(Limits()), _read=read.append)
    asker.leave()

    with pytest.raises(Left):
        Library.version(asked, 1, asker)

    assert read == []
    Library.version(asked, 1)
    assert read == [1]
