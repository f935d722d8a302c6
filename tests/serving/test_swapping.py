"""A library's versions come and go while it answers."""

from __future__ import annotations

import gc
import json
import shutil
import threading
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from routing.composed import ComposedModel, compose
from routing.errors import RoutingError
from routing.routed import RoutedModel
from routing.spec import BaseRef
from routing.store import LibraryRef, open_store
from tests.routing.libraries import TEXT, SmallLibrary
from tests.routing.published import POLICY, PublishedLibrary
from tests.serving.following import another_base
from tests.serving.live import LiveServer, live_server
from workers.serving import room, versions
from workers.serving.options import Limits

MEMBERS = [
    ["ada/plain"],
    ["ada/plain", "bob/wide"],
    ["bob/wide", "cy/attention", "di/patterned"],
    ["eve/late"],
]
NEW_TOKENS = 40


def say(live: LiveServer, model: str = "tales", **more: Any) -> httpx.Response:
    return live.post("/v1/completions", model=model, prompt=TEXT, max_tokens=6, temperature=0, **more)


def stream(live: LiveServer, prompt: str) -> tuple[str, int]:
    """The text of a streamed answer and the version that it names."""
    body = {"model": "tales", "prompt": prompt, "max_tokens": NEW_TOKENS, "temperature": 0, "stream": True}
    text, version = "", 0
    with httpx.stream("POST", f"{live.url}/v1/completions", json=body, timeout=60) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                chunk = json.loads(line.removeprefix("data: "))
                text += chunk["choices"][0]["text"]
                version = chunk.get("fletch", {}).get("version", version)
    return text, version


def test_streams_during_swaps_finish_on_the_version_they_began_with(
    published: PublishedLibrary, small_library: SmallLibrary
) -> None:
    published.publish(1, MEMBERS[0])
    prompts = [f"{TEXT} {place}" for place in range(20)]
    answers: dict[str, tuple[str, int]] = {}

    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        threads = [threading.Thread(target=lambda p=p: answers.update({p: stream(live, p)})) for p in prompts]
        for thread in threads:
            thread.start()
        for number in range(2, 22):
            published.publish(number, MEMBERS[(number - 1) % len(MEMBERS)])
        for thread in threads:
            thread.join()
        live.wait_for_version("tales", 21)

    assert answers.keys() == set(prompts)
    experts = small_library.experts()
    for prompt, (text, version) in answers.items():
        members = MEMBERS[(version - 1) % len(MEMBERS)]
        replay = compose(small_library.base(), {name: experts[name] for name in members}, POLICY)
        assert text == replay.generate(prompt, max_tokens=NEW_TOKENS).text, version


def test_a_new_version_is_answered_by_without_a_restart(published: PublishedLibrary) -> None:
    published.publish(1, MEMBERS[0])
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        before = say(live).json()

        published.publish(2, MEMBERS[1])
        live.wait_for_version("tales", 2)
        after = say(live).json()

        published.store.set_current("tales", 1)
        live.wait_for_version("tales", 1)
        back = say(live).json()

    assert [answer["fletch"]["version"] for answer in (before, after, back)] == [1, 2, 1]
    assert before["choices"] == back["choices"]
    assert before["choices"] != after["choices"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_version_with_a_damaged_object_is_refused_and_the_old_one_answers(
    published: PublishedLibrary, damage: str
) -> None:
    published.publish(1, MEMBERS[0])
    path = published.store.objects.path(published.entries["bob/wide"].factors)
    whole = path.read_bytes()
    broken = {"truncated": whole[:50], "flipped": whole[:-1] + bytes([whole[-1] ^ 1]), "missing": None}[
        damage
    ]
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        path.chmod(0o644)
        published.store.write_version("tales", 2, published.manifest(MEMBERS[1]))
        path.unlink() if broken is None else path.write_bytes(broken)
        published.store.set_current("tales", 2)

        live.wait_until(lambda: live.get("/readyz").json()["status"] == "degraded")
        answer, report, counts = say(live).json(), live.get("/readyz"), live.get("/metrics").text
        path.write_bytes(whole)
        live.wait_for_version("tales", 2)
        live.wait_until(lambda: live.get("/readyz").json()["status"] == "ready")

    assert answer["fletch"]["version"] == 1
    assert report.status_code == 200
    assert path.name in report.json()["libraries"][0]["problem"]
    assert 'fletch_degraded{library="tales"} 1.0' in counts


def test_a_version_whose_canary_fails_is_refused(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    def croak(number: int, *_: object) -> None:
        if number == 2:
            raise RoutingError("the canary is silent")

    monkeypatch.setattr(versions, "prove_policy", croak)
    published.publish(1, MEMBERS[0])
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        published.publish(2, MEMBERS[1])
        live.wait_until(lambda: "canary is silent" in live.get("/readyz").text)

        assert say(live).json()["fletch"]["version"] == 1


def test_an_expert_whose_numbers_are_sound_but_too_large_is_found_by_the_canary(
    published: PublishedLibrary, small_library: SmallLibrary
) -> None:
    huge = {name: replace(one, b=one.b * 1e38) for name, one in small_library.experts()["bob/wide"].items()}
    published.publish(1, MEMBERS[0])
    published.entries["bob/wide"] = published.keep("bob/wide", huge)
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        published.publish(2, MEMBERS[1])
        live.wait_until(lambda: "NotFinite" in live.get("/readyz").text)

        assert "the canary's logits are not finite" in live.get("/readyz").json()["libraries"][0]["problem"]
        assert say(live).json()["fletch"]["version"] == 1


def test_a_version_that_does_not_fit_into_memory_is_refused_with_numbers(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "free_memory", lambda _device: 10_000)
    published.publish(1)
    with live_server(published.url) as live:
        live.wait_until(lambda: "5 experts need" in live.get("/readyz").text)

        assert say(live).status_code == 503


def test_an_older_version_can_be_asked_for_and_is_held_for_a_while(published: PublishedLibrary) -> None:
    for number, members in enumerate(MEMBERS, start=1):
        published.publish(number, members)
    with live_server(published.url, limits=Limits(pinned_versions=2, pinned_grace=0.0)) as live:
        live.wait_for_version("tales", 4)
        by_field = say(live, routing={"version": 1}).json()
        by_name = say(live, "tales@1").json()
        held_first = live.server.libraries["tales"].held
        say(live, "tales@2")
        say(live, "tales@3")

        held = live.server.libraries["tales"].held
        listed = [model["id"] for model in live.get("/v1/models").json()["data"]]

    assert by_field["fletch"]["version"] == by_name["fletch"]["version"] == 1
    assert by_field["choices"] == by_name["choices"]
    assert (held_first, held) == ([1, 4], [2, 3, 4])
    assert {"tales@2", "tales@3", "tales@4"} <= set(listed)


def test_an_empty_store_is_served_until_something_is_published(
    small_library: SmallLibrary, composed: ComposedModel, tmp_path: Path
) -> None:
    with live_server(str(tmp_path / "store")) as live:
        empty = live.get("/readyz")
        nobody = say(live)
        published = PublishedLibrary(tmp_path / "store", small_library)
        live.wait_until(lambda: say(live, "tales/base").status_code == 200)
        unpublished = say(live)
        published.publish(1)
        live.wait_for_version("tales", 1)

        assert say(live).json()["choices"][0]["text"] == composed.generate(TEXT, max_tokens=6).text
    assert (empty.status_code, empty.json()["status"]) == (200, "ready")
    assert empty.json()["missing"] == ["there is no library in the index store yet"]
    assert nobody.status_code == 404
    assert unpublished.status_code == 503
    assert "no index version is published yet" in unpublished.json()["error"]["message"]


def test_a_base_that_is_missing_or_another_one_is_said_and_tried_again(
    published: PublishedLibrary, tmp_path: Path
) -> None:
    published.publish(1)
    absent = LibraryRef(BaseRef(str(tmp_path / "no-such-folder")), published.spec.digest)
    published.store.set_library("tales", absent)
    with live_server(published.url) as live:
        live.wait_until(lambda: live.get("/readyz").status_code == 503)
        problem = live.get("/readyz").json()["libraries"][0]["problem"]
        alive = live.get("/healthz")

        published.store.set_library("tales", LibraryRef(published.base, published.spec.digest))
        live.wait_for_version("tales", 1)

        assert live.get("/readyz").status_code == 200
    assert "no-such-folder" in problem
    assert alive.status_code == 200


def test_libraries_of_one_base_share_its_weights_and_one_alone_can_be_served(
    published: PublishedLibrary,
) -> None:
    published.publish(1)
    other = open_store(published.url)
    other.set_library("verses", LibraryRef(published.base, published.spec.digest))
    other.write_version("verses", 1, published.manifest(MEMBERS[0]))
    other.set_current("verses", 1)

    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        live.wait_for_version("verses", 1)
        assert live.server.libraries["tales"].model is live.server.libraries["verses"].model
    with live_server(published.url, library="verses") as live:
        live.wait_for_version("verses", 1)
        assert say(live).status_code == 404


def test_a_base_that_no_library_grows_on_any_more_is_let_go(
    published: PublishedLibrary, tmp_path: Path
) -> None:
    published.publish(1)
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        model = live.server.libraries["tales"].model
        assert model is not None
        first = weakref.ref(model)
        del model
        moved = another_base(published, tmp_path / "moved")

        published.store.set_library("tales", moved)
        published.store.write_version("tales", 2, published.manifest(MEMBERS[1], base=moved.base))
        published.store.set_current("tales", 2)
        live.wait_for_version("tales", 2)
        live.wait_until(lambda: say(live, "tales/base").status_code == 200 and _collected(first))

        assert live.get("/readyz").json()["libraries"][0]["problem"] is None


def test_a_base_that_lies_elsewhere_now_interrupts_nobody(
    published: PublishedLibrary, tmp_path: Path
) -> None:
    published.publish(1)
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        before = live.server.libraries["tales"].live
        shutil.copytree(published.base.source, tmp_path / "moved")
        published.store.set_library(
            "tales", LibraryRef(BaseRef(str(tmp_path / "moved")), published.spec.digest)
        )
        library = live.server.libraries["tales"]
        live.wait_until(lambda: library._ref is not None and library._ref.source.source.endswith("moved"))

        assert library.live is before


def test_a_store_that_is_gone_takes_nothing_away(published: PublishedLibrary) -> None:
    published.publish(1)
    root = Path(published.url)
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        root.rename(root.with_name("unmounted"))
        live.wait_until(lambda: live.get("/readyz").json()["status"] == "degraded")
        during = say(live)
        root.with_name("unmounted").rename(root)
        live.wait_until(lambda: live.get("/readyz").json()["status"] == "ready")

    assert during.status_code == 200, during.text


@pytest.mark.parametrize("document", ["library.json", "current.json"])
def test_one_librarys_broken_document_holds_up_no_other(published: PublishedLibrary, document: str) -> None:
    published.publish(1)
    published.store.set_library("aardvark", LibraryRef(published.base, published.spec.digest))
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        published.store.objects.write_document(f"libraries/aardvark/{document}", b"{")
        live.wait_until(lambda: live.get("/readyz").json()["status"] == "degraded")

        published.publish(2, MEMBERS[0])

        live.wait_for_version("tales", 2)
        assert "BadManifest" in live.get("/readyz").json()["libraries"][0]["problem"]


def _collected(model: weakref.ref[RoutedModel]) -> bool:
    gc.collect()
    return model() is None
