"""Versions with experts in quarantine: not read, not kept, and refused by name, while others are served."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from routing.errors import VersionHeldBack
from routing.held_back import HeldBack
from tests.routing.published import PublishedLibrary
from tests.serving.following import Follower
from tests.serving.live import LiveServer, live_server

MEMBERS = [["ada/plain", "bob/wide"], ["ada/plain", "bob/wide", "eve/late"], ["ada/plain", "eve/late"]]
HELD_BACK = [HeldBack("bob/wide", 1, 3)]


@pytest.fixture
def three(published: PublishedLibrary) -> PublishedLibrary:
    """Three versions, of which the last is without the expert that goes into quarantine."""
    for number, members in enumerate(MEMBERS, start=1):
        published.publish(number, members)
    return published


def say(live: LiveServer, **more: Any) -> httpx.Response:
    body = {"model": "tales", "prompt": "The mill", "max_tokens": 2, "temperature": 0}
    return live.post("/v1/completions", **body | more)


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"model": "tales@2"}, "model"),
        ({"routing": {"version": 1}}, "routing.version"),
        ({"model": "tales/bob/wide", "routing": {"version": 2}}, "routing.version"),
    ],
)
def test_a_request_for_one_is_refused_and_says_why(
    three: PublishedLibrary, asked: dict[str, Any], param: str
) -> None:
    three.store.set_held_back("tales", HELD_BACK)
    with live_server(three.url) as live:
        live.wait_for_version("tales", 3)
        error = say(live, **asked)
        named = live.get("/v1/models/tales@2")
        alone = say(live)

    assert (error.status_code, alone.status_code, named.status_code) == (403, 200, 404)
    assert (error.json()["error"]["code"], error.json()["error"]["param"]) == ("version_held_back", param)
    assert "bob/wide" in error.json()["error"]["message"]


def test_what_is_in_memory_is_let_go_of_at_the_next_look_and_comes_back_when_restored(
    three: PublishedLibrary,
) -> None:
    follower = Follower(three)
    library = follower.look()
    assert library.version(2).number == 2
    three.store.set_held_back("tales", HELD_BACK)
    follower.look()

    assert library.held == [3]
    with pytest.raises(VersionHeldBack, match="tales version 2 is not served: it has bob/wide, held back"):
        library.version(2)
    assert not library.publishes(2)
    three.store.set_held_back("tales", [])
    follower.look()
    assert library.version(2).number == 2


def test_one_that_still_answers_is_refused_to_whoever_asks_for_it_anew(three: PublishedLibrary) -> None:
    follower = Follower(three)
    library = follower.look()
    answering = library.version(1)
    three.store.set_held_back("tales", HELD_BACK)
    follower.look()

    with pytest.raises(VersionHeldBack):
        library.version(1)
    assert answering.pack.experts  # as long as whoever began with it needs it


def test_the_live_one_answers_until_there_is_another(published: PublishedLibrary) -> None:
    published.publish(1, MEMBERS[0])
    follower = Follower(published)
    library = follower.look()
    published.store.set_held_back("tales", [HeldBack("bob/wide", 1, 2)])
    live = follower.look().version(1)
    published.publish(2, MEMBERS[2])
    follower.look()

    assert live.number == 1
    assert library.live is not None
    assert library.live.number == 2
    with pytest.raises(VersionHeldBack):
        library.version(1)


def test_a_broken_list_is_told_and_what_is_served_stays(three: PublishedLibrary) -> None:
    follower = Follower(three)
    follower.look()
    three.store.objects.write_document("libraries/tales/held_back.json", b"{}")
    library = follower.look()

    assert library.live is not None
    assert "held_back.json" in str(library.trouble)


def test_they_are_held_back_though_another_document_cannot_be_read(three: PublishedLibrary) -> None:
    follower = Follower(three)
    library = follower.look()
    library.version(2)
    three.store.set_held_back("tales", HELD_BACK)
    three.store.objects.write_document("libraries/tales/current.json", b"{")
    follower.look()

    assert library.held == [3]
    with pytest.raises(VersionHeldBack):
        library.version(2)
