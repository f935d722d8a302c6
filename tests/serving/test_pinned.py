"""Index versions that requests name: held for a while, few at a time, and in nobody's way."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from routing.errors import UnknownVersion, WrongBase
from routing.turns import Asker, Left
from tests.routing.published import PublishedLibrary
from tests.serving.following import Follower, another_base
from tests.serving.guest_lists import known_hub
from tests.serving.live import LiveServer, live_server
from workers.serving import library, pinned, room, versions
from workers.serving.errors import ApiError
from workers.serving.giving_way import NICER, apart
from workers.serving.guests import Guests
from workers.serving.library import Library
from workers.serving.options import Limits
from workers.serving.pinned import Pinned
from workers.serving.retiring import Retiring
from workers.serving.versions import Version

MEMBERS = [["ada/plain"], ["ada/plain", "bob/wide"], ["eve/late"]]


def publish_all(published: PublishedLibrary) -> None:
    """Three versions, of which the last is live."""
    for number, members in enumerate(MEMBERS, start=1):
        published.publish(number, members)


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
    publish_all(published)
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
    publish_all(published)
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


# --------------------------------------------------------------------------------- who is held, and for how long


class Pack:
    """As large as one."""


class Fake:
    """What is held, and can be seen to go."""

    def __init__(self, number: int, model: object = None) -> None:
        self.number, self.manifest, self.model, self.pack = number, f"m{number}", model, Pack()


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Pins:
    """The versions that are held under a clock of its own, and which of them were read."""

    def __init__(self, **limits: Any) -> None:
        self.pinned = Pinned(Limits(**limits), Retiring())
        self.read: list[int] = []
        self.priorities: list[int] = []

    def ask(self, number: int) -> Any:
        def read() -> Any:
            self.read.append(number)
            self.priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return Fake(number)

        return self.pinned.version(number, lambda _number: read)

    def held(self) -> list[int]:
        return sorted(version.number for version in self.pinned.held)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pinned, "time", clock)
    return clock


def test_a_version_is_not_read_for_who_has_left_before() -> None:
    asker, read = Asker("ada"), list[int]()

    def kept(number: int) -> Any:
        read.append(number)
        return lambda: Fake(number)

    asked: Any = SimpleNamespace(
        live=None,
        _pinned=Pinned(Limits(), Retiring()),
        _find=kept,
        _require_servable=lambda _number: None,
    )
    asker.leave()

    with pytest.raises(Left):
        Library.version(asked, 1, asker)

    assert read == []
    Library.version(asked, 1)
    assert read == [1]


def test_a_version_that_nobody_asks_for_any_more_is_let_go_of(clock: Clock) -> None:
    pins = Pins(pinned_seconds=60.0)
    pins.ask(1)
    clock.now += 40.0
    pins.ask(2)
    clock.now += 21.0
    pins.pinned.tidy()

    assert pins.held() == [2]


def test_one_that_was_used_a_moment_ago_makes_no_room_and_who_asks_is_told_when_it_will(clock: Clock) -> None:
    pins = Pins(pinned_versions=2, pinned_grace=10.0)
    pins.ask(1)
    clock.now += 4.0
    pins.ask(2)
    refusals = []
    for number in range(3, 9):  # one after the other, as somebody would who wants all of them
        with pytest.raises(ApiError) as refused:
            pins.ask(number)
        refusals.append((refused.value.status, refused.value.code, refused.value.retry_after))
    kept = pins.held()
    clock.now += 6.0
    pins.ask(9)

    assert set(refusals) == {(429, "version_busy", 6)}
    assert kept == [1, 2]
    assert pins.held() == [2, 9]
    assert pins.read == [1, 2, 9]


def test_a_version_that_can_never_be_had_puts_out_none(published: PublishedLibrary, tmp_path: Path) -> None:
    publish_all(published)
    moved = another_base(published, tmp_path / "moved")
    published.store.write_version("tales", 9, published.manifest(["ada/plain"], base=moved.base))
    follower = Follower(published, Limits(pinned_versions=2, pinned_grace=0.0))
    library = follower.look()
    library.version(1)
    library.version(2)

    with pytest.raises(UnknownVersion, match="has no version 99999"):
        library.version(99_999)
    with pytest.raises(WrongBase, match="version 9 grows on base"):
        library.version(9)

    assert library.held == [1, 2, 3]
    assert not library.publishes(9)
    assert library.publishes(1)


def test_private_experts_that_are_gone_put_out_none(published: PublishedLibrary) -> None:
    publish_all(published)
    follower = Follower(published, Limits(private_versions=1))
    library, joined = follower.look(), follower.libraries.joined
    assert library.live is not None
    joined.version(library.live, Guests((published.entries["eve/late"],)))
    gone = replace(published.entries["bob/wide"], factors="0" * 64)

    with pytest.raises(ApiError, match=r"object 0000.* is not in the store"):
        joined.version(library.live, Guests((gone,)))

    assert [version.own for version in joined.of("tales")] == [{"eve/late"}]


def test_versions_that_still_answer_count_whoever_forgot_them(clock: Clock) -> None:
    pins = Pins(pinned_versions=2, pinned_grace=10.0, pinned_seconds=60.0)
    answering = [pins.ask(1), pins.ask(2)]
    clock.now += 100.0
    pins.pinned.tidy()
    with pytest.raises(ApiError, match="2 other index versions are being used"):
        pins.ask(3)
    again = pins.ask(1)  # it is in memory: that costs nothing
    found = again is answering[0]
    del again
    answering.clear()
    clock.now += 11.0
    pins.ask(3)

    assert found
    assert pins.read == [1, 2, 3]


def test_what_still_answers_is_not_let_go_of_in_vain(clock: Clock) -> None:
    pins = Pins(pinned_versions=2, pinned_grace=10.0)
    answering = pins.ask(1)
    clock.now += 1.0
    pins.ask(2)
    clock.now += 20.0
    pins.ask(3)

    assert pins.held() == [1, 3]
    assert answering.number == 1


def test_what_was_live_is_held_for_who_asked_for_it_by_its_number(clock: Clock) -> None:
    pins = Pins(pinned_seconds=60.0)
    named, unnamed, long_ago = Fake(1), Fake(2), Fake(3)
    pins.pinned.name_live(named)  # type: ignore[arg-type]
    pins.pinned.retire(named)  # type: ignore[arg-type]
    pins.pinned.retire(unnamed)  # type: ignore[arg-type]
    pins.pinned.name_live(long_ago)  # type: ignore[arg-type]
    clock.now += 61.0
    pins.pinned.retire(long_ago)  # type: ignore[arg-type]

    assert pins.held() == [1]
    assert pins.ask(1) is named
    assert pins.ask(2) is unnamed  # an answer still has it
    assert pins.read == []


def test_a_version_is_read_on_a_thread_that_gives_way(clock: Clock) -> None:
    pins = Pins()
    pins.ask(1)

    assert pins.priorities == [max(NICER, os.getpriority(os.PRIO_PROCESS, 0))]


def test_what_goes_wrong_on_that_thread_is_told_to_who_asked() -> None:
    with pytest.raises(ZeroDivisionError):
        apart(lambda: 1 // 0)


# ------------------------------------------------------------------------------ beside a version that is to be live


def test_versions_that_requests_named_make_room_for_a_new_live_one(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(published)
    follower = Follower(published)
    library = follower.look()
    library.version(1)
    library.version(2)
    monkeypatch.setattr(room, "free_memory", lambda _device: 10**9 if len(library.held) < 3 else 0)
    published.publish(4, ["di/patterned"])

    trouble = follower.look().trouble

    assert (follower.served, trouble, library.held) == (4, None, [2, 4])  # the longest unused went


def test_versions_with_private_experts_make_room_for_a_new_live_one(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = known_hub(published, MEMBERS[0])
    follower = Follower(hub.published)
    library, joined = follower.look(), follower.libraries.joined
    assert library.live is not None
    for name in ("bob/wide", "eve/late"):
        joined.version(library.live, Guests((published.entries[name],)))
    monkeypatch.setattr(room, "free_memory", lambda _device: 0 if len(joined.of("tales")) > 1 else 10**9)
    published.publish(2, ["di/patterned"])

    assert follower.look().trouble is None
    assert follower.served == 2


def test_those_that_answer_make_none_and_nothing_is_let_go_of_for_nothing(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_all(published)
    follower = Follower(published)
    library = follower.look()
    answering = library.version(1)
    monkeypatch.setattr(room, "free_memory", lambda _device: 0)
    published.publish(4, ["di/patterned"])

    trouble = follower.look().trouble

    assert (follower.served, library.held) == (3, [1, 3])
    assert "NotEnoughMemory" in str(trouble)
    assert library.version(1) is answering


def test_a_client_that_names_the_live_version_is_answered_by_it_after_a_swap(
    published: PublishedLibrary,
) -> None:
    published.publish(1, MEMBERS[0])
    follower = Follower(published)
    library = follower.look()
    named = library.version(1)
    published.publish(2, MEMBERS[1])
    follower.look()

    assert library.version(1) is named
    assert library.held == [1, 2]


def test_a_version_that_is_live_again_is_the_one_in_memory(published: PublishedLibrary) -> None:
    for number, members in enumerate(MEMBERS[:2], start=1):
        published.publish(number, members)
    follower = Follower(published)
    library = follower.look()
    older = library.version(1)
    published.store.set_current("tales", 1)
    follower.look()

    assert library.live is older
    assert library.held == [1]
