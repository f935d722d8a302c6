"""What /metrics says of experts, memory and the queue."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import torch
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from routing.composed import ComposedModel
from routing.engine import Engine, Step
from routing.generation import Generation, Request
from routing.object_cache import ObjectCache
from routing.store import LibraryRef
from routing.streaming import TextToken
from routing.traces import ModuleTrace, Shares
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary
from tests.serving.guest_lists import Hub, known_hub
from tests.serving.live import LiveServer, live_server
from workers.serving.app import create_app
from workers.serving.counting import Counting
from workers.serving.journal import GONE, Entry
from workers.serving.metrics import Metrics
from workers.serving.options import Limits, Options
from workers.serving.speakers import OTHERS, PRIVATE

MEMBERS = ["ada/plain", "cy/attention", "eve/late"]
BODY = {"model": "tales", "prompt": TEXT, "max_tokens": 6, "temperature": 0}


@pytest.fixture
def hub(published: PublishedLibrary) -> Hub:
    return known_hub(published, MEMBERS)


@pytest.fixture
def live(hub: Hub) -> Iterator[LiveServer]:
    with live_server(hub.published.url, limits=Limits(named_experts=2)) as live:
        live.wait_for_version("tales", 1)
        yield live


def samples(live: LiveServer, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its labels, in the order of their names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(live.get("/metrics").text)
        for sample in family.samples
        if sample.name == name
    }


def said(trace: dict[str, Any]) -> tuple[Counter[str], Counter[str]]:
    """How often each expert was chosen according to a trace, and with how much weight in all."""
    hits: Counter[str] = Counter()
    weight: Counter[str] = Counter()
    for module in trace["modules"].values():
        for experts, weights in zip(module["experts"], module["weights"], strict=True):
            for place, part in zip(experts, weights, strict=True):
                if part:
                    hits[trace["experts"][place]] += 1
                    weight[trace["experts"][place]] += part
    return hits, weight


def test_experts_are_counted_where_they_were_chosen_and_those_that_come_late_together(
    live: LiveServer,
) -> None:
    asked = BODY | {"routing": {"router": "arrow", "top_k": 2, "trace": True}}
    answer = live.post("/v1/completions", **asked).json()
    hits, weight = said(answer["fletch"]["trace"])

    counted = samples(live, "fletch_expert_hits_total")
    weighed = samples(live, "fletch_expert_weight_total")

    assert set(counted) == {("ada/plain", "tales"), ("cy/attention", "tales"), (OTHERS, "tales")}
    for expert, name in (("ada/plain",) * 2, ("cy/attention",) * 2, ("eve/late", OTHERS)):
        assert counted[name, "tales"] == hits[expert]
        assert weighed[name, "tales"] == pytest.approx(weight[expert], rel=1e-3)


def test_the_entropy_is_that_of_the_answers_shares(live: LiveServer) -> None:
    answer = live.post("/v1/completions", **BODY, routing={"router": "uniform"}).json()
    shares = [expert["share"] for expert in answer["fletch"]["experts"]]

    bits = samples(live, "fletch_routing_entropy_bits_sum")["tales",]
    part = samples(live, "fletch_routing_entropy_ratio_sum")["tales",]

    assert bits == pytest.approx(-sum(share * math.log2(share) for share in shares), abs=1e-4)
    assert bits > 1
    assert part == pytest.approx(bits / math.log2(3))


def test_private_experts_are_counted_without_their_names(live: LiveServer, hub: Hub) -> None:
    asked = BODY | {"routing": {"router": "uniform"}}
    headers = hub.header("bob/wide")
    answer = httpx.post(f"{live.url}/v1/completions", json=asked, headers=headers, timeout=60)

    assert "bob/wide" in answer.text
    assert samples(live, "fletch_expert_hits_total")[PRIVATE, "tales"] > 0
    assert "bob/wide" not in live.get("/metrics").text


def test_whoever_left_the_library_makes_room_for_another_name(live: LiveServer, hub: Hub) -> None:
    live.post("/v1/completions", **BODY, routing={"force": ["ada/plain", "cy/attention"]})
    hub.published.publish(2, ["cy/attention", "eve/late"])
    live.wait_for_version("tales", 2)
    live.wait_until(lambda: samples(live, "fletch_swap_seconds_count")["tales",] == 2)
    live.post("/v1/completions", **BODY, routing={"force": ["eve/late"]})

    names = {name for name, _ in samples(live, "fletch_expert_hits_total")}

    assert names == {"cy/attention", "eve/late"}


def test_lookups_and_bytes_of_kept_beginnings_are_told(live: LiveServer) -> None:
    for _ in range(2):
        live.post("/v1/completions", **BODY | {"prompt": TEXT * 8}, prompt_cache_key="a conversation")
    live.post("/v1/completions", **BODY)

    lookups = samples(live, "fletch_prefix_lookups_total")
    model = live.server.libraries["tales"].model

    assert lookups == {("tales", "miss"): 1, ("tales", "hit"): 1}
    assert model is not None
    assert model.prefixes is not None
    assert samples(live, "fletch_prefix_bytes") == {(model.base.spec.name,): model.prefixes.size}
    assert model.prefixes.size > 0
    assert samples(live, "fletch_kv_bytes") == {(model.base.spec.name,): 0}
    assert samples(live, "fletch_queue_seconds_count") == {(): 3}


def test_how_the_base_s_layers_lie_in_memory_is_told(live: LiveServer) -> None:
    model = live.server.libraries["tales"].model
    assert model is not None
    name, linears = model.base.spec.name, len(model.base.spec.target_modules) + 1  # and the head

    found = samples(live, "fletch_base_layers")

    assert sum(found.values()) == linears
    assert {base for base, _ in found} == {name}
    assert {layout for _, layout in found} <= {"onednn", "panels"}


def test_the_memory_of_answers_under_way_is_counted_until_they_end(composed: ComposedModel) -> None:
    engine, model = Engine(), composed.routed
    engine.submit([(Generation(model, Request((1, 2, 3), max_tokens=2)), lambda _step: None)])
    name, before = model.base.spec.name, engine.memory_bytes()
    engine.step()
    config = model.base.model.config
    kept = config.num_key_value_heads * config.hidden_size // config.num_attention_heads
    kept *= 2 * 4 * config.num_hidden_layers  # keys and values in float32

    during = engine.memory_bytes()
    while engine.step():
        pass

    assert before == {name: 0}
    assert during[name] % kept == 0
    assert during[name] >= 3 * kept
    assert engine.memory_bytes() == {}


def test_what_fills_a_row_up_is_no_choice(composed: ComposedModel) -> None:
    shares = Shares(composed.pack)
    shares.recall(ModuleTrace(torch.tensor([[1, 0], [1, 2]]), torch.tensor([[1.0, 0.0], [0.5, 0.5]])))

    spoken = {name: (said.hits, said.weight) for name, said in shares.spoken().items()}

    assert spoken == {composed.pack.experts[1]: (2, 1.5), composed.pack.experts[2]: (1, 0.5)}


def test_the_time_to_the_first_token_begins_with_the_request_and_not_with_its_place() -> None:
    metrics, entry = Metrics(), Entry("a-name", "POST", "/v1/completions")
    entry.began -= 100.0
    target: Any = SimpleNamespace(library="tales", version=None)
    counting = Counting(target, [], 1, metrics, entry, lambda _tokens: None)

    class Once:
        admitted = time.monotonic()

        async def __aiter__(self) -> AsyncIterator[tuple[int, Step]]:
            yield 0, Step((TextToken(1, "a"),), "stop")

        def close(self) -> None:
            """Nothing is left."""

    async def follow() -> None:
        steps: Any = Once()
        async for _ in counting.counted(steps):
            pass

    asyncio.run(follow())

    library = {"library": "tales"}
    assert (metrics.registry.get_sample_value("fletch_first_token_seconds_sum", library) or 0) >= 100
    assert (metrics.registry.get_sample_value("fletch_queue_seconds_sum") or 0) < 100


def test_latencies_are_told_by_library_finely_enough_for_percentiles(live: LiveServer) -> None:
    live.post("/v1/completions", **BODY)

    counted = {
        name: samples(live, f"fletch_{name}_seconds_count") for name in ("first_token", "between_tokens")
    }
    assert {name: list(found) for name, found in counted.items()} == {name: [("tales",)] for name in counted}
    for name in counted:
        bounds = sorted(float(label[0]) for label in samples(live, f"fletch_{name}_seconds_bucket"))
        assert (bounds[0], bounds[-2:]) == (0.001, [100.0, math.inf])
        assert max(higher / lower for lower, higher in pairwise(bounds[:-1])) < 1.7


def test_the_process_tells_of_itself(live: LiveServer) -> None:
    assert samples(live, "process_resident_memory_bytes")[()] > 0
    assert samples(live, "process_cpu_seconds_total")[()] > 0
    assert samples(live, "process_open_fds")[()] > 0
    assert samples(live, "python_info")


def test_nothing_is_told_of_a_library_that_is_served_no_more(live: LiveServer, hub: Hub) -> None:
    store = hub.published.store
    for name in ("aardvark", "verses"):
        store.set_library(name, LibraryRef(hub.published.base, hub.published.spec.digest))
    store.objects.write_document("libraries/aardvark/current.json", b"{")
    store.write_version("verses", 4, hub.published.manifest(["ada/plain"]))
    store.set_current("verses", 4)
    live.wait_for_version("verses", 4)
    live.wait_until(lambda: samples(live, "fletch_degraded").get(("aardvark",)) == 1)
    gauges = ("fletch_version", "fletch_experts", "fletch_degraded")
    before = [samples(live, name) for name in gauges]

    for name in ("aardvark", "verses"):
        (Path(hub.published.url) / "libraries" / name / "library.json").unlink()
    live.wait_until(lambda: live.server.libraries.served.keys() == {"tales"})

    assert [{name for (name,) in gauge} for gauge in before] == [
        {"tales", "verses"},
        {"tales", "verses"},
        {"tales", "verses", "aardvark"},
    ]
    assert before[0]["verses",] == 4
    assert before[1]["verses",] == 1
    assert [samples(live, name).keys() for name in gauges] == [{("tales",)}] * 3


def test_what_is_not_there_is_counted_under_one_name(live: LiveServer) -> None:
    live.get("/v1/nothing")
    live.get("/here")
    live.get("/v1/completions")
    live.post("/v1/completions", model="nobody", prompt="x")

    counted = samples(live, "fletch_requests_total")

    asked = {labels: count for labels, count in counted.items() if labels[0] not in ("/readyz", "/metrics")}
    assert asked == {("(unknown)", "404"): 2, ("(unknown)", "405"): 1, ("/v1/completions", "404"): 1}


def test_a_stream_that_broke_off_is_counted_apart() -> None:
    metrics = Metrics()
    whole = Entry("a-name", "POST", "/v1/completions", route="/v1/completions", status=200)
    metrics.ended(whole)
    metrics.ended(replace(whole, error="guide_lost"))
    metrics.ended(replace(whole, error=GONE))
    metrics.ended(replace(whole, status=500, error="internal"))

    found = metrics.registry.get_sample_value
    assert found("fletch_broken_streams_total", {"endpoint": "/v1/completions"}) == 1


def test_passes_that_failed_for_several_answers_are_counted_by_base_and_error(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = live.server.libraries["tales"].model
    assert model is not None
    run_pieces = model.run_pieces

    def alone(*given: Any) -> Any:
        return run_pieces(*given) if len(given[2]) == 1 else 1 / 0

    monkeypatch.setattr(model, "run_pieces", alone)
    answered = live.post("/v1/completions", **BODY | {"prompt": [TEXT, "The mill is"]})

    assert answered.status_code == 200
    counted = samples(live, "fletch_parted_passes_total")
    assert counted[model.base.spec.name, "ZeroDivisionError"] > 0


def test_nobody_spoke_is_no_entropy() -> None:
    metrics = Metrics()
    metrics.speakers.heard("tales", [], (), 3)

    assert (
        metrics.registry.get_sample_value("fletch_routing_entropy_bits_count", {"library": "tales"}) is None
    )


def test_how_much_of_the_disk_copies_of_objects_take_is_told_where_the_store_is_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    copied = tmp_path / "copied"
    copied.write_bytes(bytes(1000))
    ObjectCache(tmp_path / "cache").put(copied)
    there = Options("s3://nowhere/index", cache=tmp_path / "cache", cache_megabytes=3)

    elsewhere, here = (
        {
            family.name: family.samples[0].value
            for family in text_string_to_metric_families(TestClient(create_app(options)).get("/metrics").text)
            if family.name.startswith("fletch_cache")
        }
        for options in (there, Options(str(tmp_path)))
    )

    assert elsewhere == {"fletch_cache_bytes": 1000, "fletch_cache_limit_bytes": 3 * 2**20}
    assert not here
