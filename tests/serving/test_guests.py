"""Private experts join a library's model for whoever brings their list, and for nobody else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from routing.composed import ComposedModel
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.guest_lists import Hub, known_hub
from tests.serving.live import LiveServer, live_server
from workers.serving import joined, room, versions
from workers.serving.guests import Guests
from workers.serving.options import Limits

MEMBERS = ["ada/plain", "cy/attention", "eve/late"]
GUESTS = ("bob/wide", "di/patterned")
CHAT = [{"role": "user", "content": TEXT}]


@pytest.fixture
def hub(published: PublishedLibrary) -> Hub:
    """Three experts are published, two are not, and the store names the hub's key."""
    return known_hub(published, MEMBERS)


@pytest.fixture
def live(hub: Hub) -> Iterator[LiveServer]:
    with live_server(hub.published.url, limits=Limits(private_versions=2)) as live:
        live.wait_for_version("tales", 1)
        yield live


def ask(live: LiveServer, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"model": "tales", "prompt": TEXT, "max_tokens": 10, "temperature": 0, **more}
    return httpx.post(f"{live.url}/v1/completions", json=body, headers=headers, timeout=60)


def held(live: LiveServer) -> float:
    (line,) = [
        line for line in live.get("/metrics").text.splitlines() if line.startswith("fletch_private_versions")
    ]
    return float(line.split()[-1])


def test_who_brings_the_list_is_answered_by_the_library_and_their_experts(
    live: LiveServer, hub: Hub, composed: ComposedModel
) -> None:
    header = hub.header(*GUESTS)

    answer = ask(live, header)
    streamed = ask(live, header, stream=True)
    alone = ask(live, header, model="tales/bob/wide")
    traced = ask(live, header, routing={"trace": True}).json()
    client = live.client(default_headers=header)
    chat = client.chat.completions.create(model="tales", messages=CHAT, max_tokens=4, temperature=0)

    ours = answer.json()["fletch"]
    assert answer.json()["choices"][0]["text"] == composed.generate(TEXT, max_tokens=10).text
    assert (ours["version"], ours["private"]["experts"]) == (1, list(GUESTS))
    assert ours["private"] == chat.fletch["private"]
    assert ours["private"]["digest"] in streamed.text
    assert {one["adapter"] for one in alone.json()["fletch"]["experts"]} == {"bob/wide"}
    assert traced["fletch"]["trace"]["experts"] == sorted([*MEMBERS, *GUESTS])
    assert held(live) == 1.0


def test_nobody_else_sees_or_hears_them(live: LiveServer, hub: Hub, caplog: pytest.LogCaptureFixture) -> None:
    before = ask(live).json()
    with caplog.at_level(logging.DEBUG):
        theirs = ask(live, hub.header(*GUESTS)).json()
        broken = replace(hub.published.entries["bob/wide"], factors="0" * 64)
        assert ask(live, hub.signed([broken])).status_code == 400
    after = ask(live).json()

    pages = [live.get(path).text for path in ("/v1/models", "/readyz", "/metrics")]
    single = ask(live, model="tales/bob/wide")
    forced = ask(live, routing={"force": ["bob/wide"]})
    assert before["choices"] == after["choices"] != theirs["choices"]
    assert before["fletch"] == after["fletch"]
    assert before["system_fingerprint"] == after["system_fingerprint"] != theirs["system_fingerprint"]
    assert (single.status_code, forced.status_code) == (404, 400)
    assert forced.json()["error"]["code"] == "unknown_expert"
    assert not [text for text in (*pages, caplog.text) for name in GUESTS if name in text]


def test_over_the_base_alone_they_are_all_that_speaks(hub: Hub) -> None:
    hub.published.publish(2, [])
    with live_server(hub.published.url) as live:
        live.wait_for_version("tales", 2)

        ours = ask(live, hub.header("bob/wide")).json()["fletch"]

        assert ours["experts"] == [{"adapter": "bob/wide", "share": 1.0}]
        assert ask(live).json()["fletch"]["experts"] == []


def test_answers_that_are_written_at_the_same_time_do_not_mix(
    live: LiveServer, hub: Hub, composed: ComposedModel
) -> None:
    public = ask(live, max_tokens=40).json()["choices"]
    answers: dict[int, Any] = {}

    def asking(place: int) -> None:
        headers = hub.header(*GUESTS) if place % 2 else None
        answers[place] = ask(live, headers, max_tokens=40).json()["choices"]

    threads = [threading.Thread(target=asking, args=(place,)) for place in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    private = composed.generate(TEXT, max_tokens=40).text
    assert private != public[0]["text"]
    for place, choices in answers.items():
        assert choices[0]["text"] == (private if place % 2 else public[0]["text"]), place


def test_a_list_that_is_not_good_is_refused_with_what_is_wrong(live: LiveServer, hub: Hub) -> None:
    good = hub.header(*GUESTS)["X-Fletch-Private"]
    statement, _, signature = good.partition(".")
    strangers = Hub(hub.published).header(*GUESTS)["X-Fletch-Private"]
    newer = hub.signed([replace(hub.published.entries["bob/wide"], vectors="f" * 64)])["X-Fletch-Private"]
    lists = {
        "expired": (hub.header(*GUESTS, seconds=-1)["X-Fletch-Private"], 401, "private_expired"),
        "stranger's": (strangers, 401, "private_forged"),
        "patched": (f"{newer.partition('.')[0]}.{signature}", 401, "private_forged"),
        "unsigned": (statement, 401, "private_forged"),
        "nonsense": ("%%%.%%%", 401, "private_forged"),
        "padded": (good + "." * 100, 401, "private_forged"),
        "elsewhere": (hub.header(*GUESTS, library="x")["X-Fletch-Private"], 403, "private_other_library"),
        "gone": (newer, 400, "private_unavailable"),
        "of tomorrow": (hub.header(*GUESTS, format=2)["X-Fletch-Private"], 400, "private_unreadable"),
        "of nobody": (hub.header(experts=[])["X-Fletch-Private"], 400, "private_unreadable"),
    }

    answers = {name: ask(live, {"X-Fletch-Private": token}) for name, (token, *_) in lists.items()}

    assert {name: (one.status_code, one.json()["error"]["code"]) for name, one in answers.items()} == {
        name: (status, code) for name, (_, status, code) in lists.items()
    }
    assert "f" * 64 in answers["gone"].json()["error"]["message"]
    assert ask(live, hub.header(*GUESTS), model="tales/base").json()["error"]["param"] == "X-Fletch-Private"
    assert held(live) == 0.0


def test_without_a_key_in_the_store_or_a_place_no_list_is_taken(hub: Hub) -> None:
    folder = hub.published.store.objects.root / "libraries" / "tales"  # type: ignore[attr-defined]
    with live_server(hub.published.url, limits=Limits(private_versions=0)) as live:
        live.wait_for_version("tales", 1)
        no_place = ask(live, hub.header(*GUESTS)).json()["error"]
        (folder / "guests.json").write_text("{}")
        broken = ask(live, hub.header(*GUESTS)).json()["error"]
        (folder / "guests.json").unlink()
        no_key = ask(live, hub.header(*GUESTS)).json()["error"]
        assert ask(live).status_code == 200

    assert (no_place["code"], broken["code"]) == ("private_not_taken", "private_unavailable")
    assert no_key["code"] == "private_not_taken"
    assert "has not said in the index store" in no_key["message"]


def test_a_new_key_in_the_store_is_believed_at_once_and_the_old_one_no_more(
    live: LiveServer, hub: Hub
) -> None:
    assert ask(live, hub.header(*GUESTS)).status_code == 200
    newer = Hub(hub.published)
    newer.say_key()

    assert ask(live, newer.header(*GUESTS)).status_code == 200
    assert ask(live, hub.header(*GUESTS)).json()["error"]["code"] == "private_forged"


def test_few_are_held_and_the_longest_unused_goes_first(
    live: LiveServer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[list[str]] = []
    real = versions.with_guests

    def counted(store: Any, version: Any, guests: Any, **more: Any) -> versions.Version:
        read.append(guests.names)
        return real(store, version, guests, **more)

    monkeypatch.setattr(joined, "with_guests", counted)
    for names in (["bob/wide"], ["di/patterned"], ["bob/wide"], GUESTS, ["bob/wide"], ["di/patterned"]):
        assert ask(live, hub.header(*names)).status_code == 200

    assert read == [["bob/wide"], ["di/patterned"], list(GUESTS), ["di/patterned"]]
    live.wait_until(lambda: held(live) <= 2.0)


def test_what_is_answering_counts_and_whoever_comes_then_is_told_to_try_again(
    live: LiveServer, hub: Hub
) -> None:
    held_by_us = [live.server.libraries.joined.version(_live(live), _guests(hub, name)) for name in GUESTS]
    busy = ask(live, hub.header(*GUESTS))
    others = ask(live)
    held_by_us.clear()
    later = ask(live, hub.header(*GUESTS))

    assert (busy.status_code, busy.json()["error"]["code"]) == (429, "private_busy")
    assert busy.headers["Retry-After"] == "1"
    assert (others.status_code, later.status_code) == (200, 200)


def test_neither_others_nor_a_swap_wait_while_experts_are_read(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, go_on = threading.Event(), threading.Event()
    real = versions.with_guests

    def slow(store: Any, version: Any, guests: Any, **more: Any) -> versions.Version:
        reading.set()
        assert go_on.wait(30)
        return real(store, version, guests, **more)

    monkeypatch.setattr(joined, "with_guests", slow)
    answers: list[httpx.Response] = []
    with live_server(hub.published.url, limits=Limits(private_waiting=2)) as live:
        live.wait_for_version("tales", 1)
        asking = [
            threading.Thread(target=lambda: answers.append(ask(live, hub.header("bob/wide"))))
            for _ in range(2)
        ]
        for thread in asking:
            thread.start()
        assert reading.wait(30)
        hub.published.publish(2, MEMBERS[:2])
        live.wait_for_version("tales", 2)
        public = ask(live)
        live.wait_until(lambda: ask(live, hub.header(*GUESTS)).status_code == 429)
        go_on.set()
        for thread in asking:
            thread.join()

    assert public.json()["fletch"]["version"] == 2
    first, second = sorted(answer.json()["fletch"]["version"] for answer in answers)
    assert first == 1
    assert second in {1, 2}  # whichever was served when it came


def test_they_join_the_version_that_is_asked_for_and_go_with_it(live: LiveServer, hub: Hub) -> None:
    first = ask(live, hub.header("bob/wide")).json()["fletch"]
    hub.published.publish(2, ["ada/plain"])
    live.wait_for_version("tales", 2)
    live.wait_until(lambda: held(live) == 0.0)

    second = ask(live, hub.header("bob/wide")).json()["fletch"]
    older = ask(live, hub.header("bob/wide"), model="tales@1").json()["fletch"]

    assert (first["version"], second["version"], older["version"]) == (1, 2, 1)
    assert first["private"] == second["private"] == older["private"]
    assert first["experts"] == older["experts"] != second["experts"]


def test_what_nobody_asked_for_lately_is_forgotten(
    live: LiveServer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(live, hub.header("bob/wide")).status_code == 200
    assert held(live) == 1.0

    monkeypatch.setattr(joined, "IDLE_SECONDS", 0.0)

    live.wait_until(lambda: held(live) == 0.0)


def test_experts_that_do_not_fit_into_memory_are_refused_and_the_library_answers(
    live: LiveServer, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda _device: 10_000)

    refused = ask(live, hub.header("bob/wide"))

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "private_busy")
    assert "1 experts beside those of the version need" in refused.json()["error"]["message"]
    assert ask(live).status_code == 200


def _live(live: LiveServer) -> versions.Version:
    found = live.server.libraries["tales"].live
    assert found is not None
    return found


def _guests(hub: Hub, name: str) -> Guests:
    return Guests((hub.published.entries[name],))
