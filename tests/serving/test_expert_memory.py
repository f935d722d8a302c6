"""A process that holds some experts' factors in memory answers as one that holds all of them."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from routing.composed import ComposedModel
from routing.index import RoutingPolicy
from routing.neutral import neutral_tokens
from routing.routes import Routing
from routing.spec import BaseRef
from routing.store import LibraryRef
from tests.routing.libraries import TEXT, SmallLibrary
from tests.routing.published import PublishedLibrary
from tests.serving.guest_lists import Hub
from tests.serving.live import LiveServer, live_server
from workers.serving.__main__ import main
from workers.serving.options import Limits

NAMES = ("ada/plain", "bob/wide", "cy/attention", "di/patterned", "eve/late")


def ask(live: LiveServer, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"model": "tales", "prompt": TEXT, "max_tokens": 6, "temperature": 0, **more}
    return httpx.post(f"{live.url}/v1/completions", json=body, headers=headers, timeout=60)


def count(live: LiveServer, name: str) -> float:
    found = re.search(rf'^{name}{{library="tales"}} (\S+)$', live.get("/metrics").text, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


@pytest.fixture
def small(published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch) -> PublishedLibrary:
    """A library of five experts, for a memory that holds two or three of them beside everybody's vectors."""
    largest = max(entry.factors_size for entry in published.entries.values())
    monkeypatch.setattr("workers.serving.libraries.MEGABYTE", 2 * largest + published.vectors_size)
    published.publish(1)
    return published


@pytest.fixture
def live(small: PublishedLibrary) -> Iterator[LiveServer]:
    with live_server(small.url, limits=Limits(expert_megabytes=1, expert_patience=5.0)) as live:
        live.wait_for_version("tales", 1)
        yield live


def test_what_fits_is_answered_as_by_all_in_memory(small: PublishedLibrary, composed: ComposedModel) -> None:
    with live_server(small.url, limits=Limits(expert_megabytes=64)) as live:
        live.wait_for_version("tales", 1)
        first, again = ask(live), ask(live)
        hits, misses = count(live, "fletch_resident_hits_total"), count(live, "fletch_resident_misses_total")
        resident, vectors = count(live, "fletch_resident_experts"), count(live, "fletch_vector_bytes")

    assert first.json()["choices"][0]["text"] == composed.generate(TEXT, max_tokens=6).text
    assert first.json()["choices"] == again.json()["choices"]
    assert "narrowed" not in first.json()["fletch"]
    inputs = [(name, one.a.shape[1]) for few in small.library.experts().values() for name, one in few.items()]
    assert vectors == 4 * sum(width for _, width in inputs) + 4 * sum(
        dict(inputs).values()
    )  # nobody has gates
    assert misses == resident == len(NAMES)
    assert hits == len(NAMES)  # of the second answer: the canary of the version looks nothing up


def test_what_does_not_fit_is_narrowed_and_says_so(live: LiveServer) -> None:
    answer = ask(live, routing={"trace": True})
    streamed = ask(live, stream=True)

    ours = answer.json()["fletch"]
    assert ours["narrowed"]["from"] == 5
    assert ours["narrowed"]["to"] < 5
    assert ours["narrowed"]["prior"] == "arrow"  # this library has no neutral text
    assert len(ours["experts"]) <= ours["narrowed"]["to"]
    assert '"narrowed"' in streamed.text
    assert count(live, "fletch_narrowed_total") == 2


def test_each_expert_alone_is_heard_in_a_memory_for_two(live: LiveServer, composed: ComposedModel) -> None:
    answers: dict[str, str] = {}

    def listen(name: str) -> None:
        said = ask(live, model=f"tales/{name}").json()
        answers[name] = said["choices"][0]["text"]
        assert [one["adapter"] for one in said["fletch"]["experts"]] == [name]

    threads = [threading.Thread(target=listen, args=(name,)) for name in NAMES * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert answers.keys() == set(NAMES)
    assert len(set(answers.values())) > 1
    for name, text in answers.items():
        routing = Routing("single", top_k=1, experts=(name,))
        assert text == composed.generate(TEXT, max_tokens=6, routing=routing).text
    assert count(live, "fletch_resident_evictions_total") >= 1
    misses = f"{count(live, 'fletch_resident_misses_total')}"
    assert (
        f'fletch_resident_reads_total{{library="tales",source="disk"}} {misses}' in live.get("/metrics").text
    )
    assert count(live, "fletch_resident_bytes") <= live.server.libraries.shelf.near.limit  # type: ignore[union-attr]


def test_texts_of_one_request_are_embedded_as_alone_though_their_experts_do_not_fit_together(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = published.entries.values()
    all_together = sum(2 * entry.factors_size + entry.vectors_size for entry in entries)
    monkeypatch.setattr("workers.serving.libraries.MEGABYTE", 2 * all_together - 1)
    monkeypatch.setattr("routing.hearing.SHARE", 1)  # a prompt alone may have all of it
    published.publish(1)
    texts = [f"{number} {TEXT}" for number in range(6)]

    def embed(server: LiveServer, given: list[str]) -> tuple[list[list[float]], int]:
        answer = server.post("/v1/embeddings", model="tales", input=given).json()
        return [one["embedding"] for one in answer["data"]], answer["fletch"]["narrowed"]["to"]

    with live_server(published.url, limits=Limits(expert_megabytes=1, expert_patience=5.0)) as live:
        live.wait_for_version("tales", 1)
        together, narrowed = embed(live, texts)
        alone = [embed(live, [text]) for text in texts]

    assert narrowed > 1
    assert together == [pytest.approx(vectors[0], abs=1e-5) for vectors, _ in alone]


@pytest.mark.parametrize(
    ("body", "param", "code", "words"),
    [
        ({"routing": {"experts": list(NAMES)}}, "routing.experts", "experts_too_large", "name fewer"),
        ({"routing": {"force": list(NAMES)}}, "routing.experts", "experts_too_large", "name fewer"),
        ({"routing": {"router": "uniform"}}, "routing.router", "invalid_value", "do not fit into memory"),
        ({"routing": {"prior_tokens": 0}}, "routing.prior_tokens", "invalid_value", "do not fit into memory"),
        (
            {"routing": {"general": ["no/body"], "subtract": 0.5}},
            "routing.general",
            "unknown_expert",
            "no/body",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(
    live: LiveServer, body: dict[str, Any], param: str, code: str, words: str
) -> None:
    answer = ask(live, **body)

    error = answer.json().get("error", {})
    assert (answer.status_code, error.get("param"), error.get("code")) == (400, param, code)
    assert words in error["message"]


def test_a_damaged_expert_fails_its_own_answers_alone(live: LiveServer, small: PublishedLibrary) -> None:
    path = small.store.objects.path(small.entries["bob/wide"].factors)
    kept = path.read_bytes()
    for name in NAMES:  # whoever was in memory makes room
        ask(live, model=f"tales/{name}")
    ask(live, model="tales/ada/plain")
    path.unlink()

    broken, sound = ask(live, model="tales/bob/wide"), ask(live, model="tales/ada/plain")
    live.wait_until(lambda: live.get("/readyz").json()["status"] == "degraded")
    report = live.get("/readyz")
    live.wait_until(lambda: count(live, "fletch_degraded") == 1.0)
    path.write_bytes(kept)
    mended = ask(live, model="tales/bob/wide")
    live.wait_until(lambda: live.get("/readyz").json()["status"] == "ready")

    assert (broken.status_code, broken.json()["error"]["code"]) == (503, "expert_unavailable")
    assert "bob/wide" in broken.json()["error"]["message"]
    assert sound.status_code == mended.status_code == 200
    assert report.status_code == 200
    assert "expert bob/wide: MissingObject" in report.json()["libraries"][0]["problem"]


def test_an_expert_larger_than_the_memory_is_said_to_be_and_others_answer(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {name: entry.factors_size for name, entry in published.entries.items()}
    giant, other = sorted(sizes, key=sizes.__getitem__, reverse=True)[:2]
    monkeypatch.setattr("workers.serving.libraries.MEGABYTE", 2 * (sizes[giant] - 1))
    published.publish(1)
    with live_server(published.url, limits=Limits(expert_megabytes=1, expert_patience=5.0)) as live:
        live.wait_for_version("tales", 1)
        alone, named = ask(live, model=f"tales/{giant}"), ask(live, routing={"experts": [giant, other]})
        anybody, report = ask(live, model=f"tales/{other}"), live.get("/readyz").json()

    for refused in (alone, named):
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "expert_unavailable")
        assert "--expert-megabytes" in refused.json()["error"]["message"]
    assert anybody.status_code == 200
    assert report["status"] == "degraded"
    assert f"expert {giant}: found" in report["libraries"][0]["problem"]


def test_a_new_version_finds_the_experts_that_it_shares_in_memory(
    live: LiveServer, small: PublishedLibrary
) -> None:
    ask(live, model="tales/ada/plain")
    before = count(live, "fletch_resident_load_seconds_count")
    small.publish(2, ["ada/plain"])
    live.wait_for_version("tales", 2)

    answer = ask(live)

    assert answer.json()["fletch"]["version"] == 2
    assert count(live, "fletch_resident_load_seconds_count") == before


def test_private_experts_are_read_when_they_are_wanted(small: PublishedLibrary) -> None:
    small.publish(2, ["ada/plain", "cy/attention"])
    hub = Hub(small)
    hub.say_key()
    with live_server(small.url, limits=Limits(expert_megabytes=1)) as live:
        live.wait_for_version("tales", 2)
        alone = ask(live, hub.header("bob/wide"), model="tales/bob/wide")

    assert [one["adapter"] for one in alone.json()["fletch"]["experts"]] == ["bob/wide"]


def test_with_neutral_text_the_librarys_prior_narrows(
    small: PublishedLibrary, small_library: SmallLibrary
) -> None:
    text = small.store.put_neutral(neutral_tokens(small_library.base(), sequences=4, length=32))
    small.store.set_library("tales", LibraryRef(BaseRef(str(small_library.folder)), small.spec.digest, text))
    manifest = small.manifest()
    policy = RoutingPolicy("two-stage", top_k=2, prior="retrieval")
    small.store.write_version("tales", 2, type(manifest)(manifest.base, manifest.experts, policy, text))
    small.store.set_current("tales", 2)
    with live_server(small.url, limits=Limits(expert_megabytes=1)) as live:
        live.wait_for_version("tales", 2)
        answer = ask(live).json()

    assert answer["fletch"]["narrowed"]["prior"] == "retrieval"


def test_options_that_would_do_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for given in (["--warm-megabytes", "9"], ["--expert-megabytes", "0"]):
        with pytest.raises(SystemExit):
            main(["--store", "nowhere", "--device", "cpu", *given])
    said = capsys.readouterr().err
    assert "--warm-megabytes: expected with --expert-megabytes, and on a GPU alone" in said
    assert "found 0, expected 1 or more" in said
