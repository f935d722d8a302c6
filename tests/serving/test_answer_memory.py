"""What answers may take is bounded where nobody says by how much: by half of what is free."""

from __future__ import annotations

import gc
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from routing.generation import Generation
from routing.prefixes import Prefixes
from routing.streaming import TextToken
from tests.routing.libraries import SmallLibrary
from tests.routing.published import PublishedLibrary
from tests.serving.following import Follower, another_base
from tests.serving.live import LiveServer, live_server
from workers.serving import answer_memory
from workers.serving.__main__ import arguments
from workers.serving.answer_memory import LEAST
from workers.serving.options import AUTO, MEGABYTE, Limits

FREE = 1000 * MEGABYTE
KEPT = Limits.prefix_megabytes


class Machine:
    """What is free on the device, as far as serving processes look."""

    free: int | None = FREE


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    monkeypatch.setattr(answer_memory, "free_memory", lambda _device: found.free)
    return found


def megabytes(follower: Follower) -> int | str | None:
    return follower.libraries.memory.limits.memory_megabytes


def test_answers_may_take_half_of_what_is_free_beside_what_conversations_and_experts_may(
    published: PublishedLibrary,
) -> None:
    published.publish(1)
    plain, resident = Follower(published), Follower(published, Limits(expert_megabytes=100))

    for follower in (plain, resident):
        follower.look()

    shelf = resident.libraries.shelf
    assert shelf is not None
    assert megabytes(plain) == (1000 - KEPT) // 2
    assert (
        megabytes(resident) == (FREE - KEPT * MEGABYTE - (100 * MEGABYTE - shelf.near.size)) // 2 // MEGABYTE
    )


def test_what_answers_and_conversations_take_already_is_counted_once(
    published: PublishedLibrary, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(published)
    monkeypatch.setattr(follower.engine, "memory_bytes", lambda: {"tiny": 300 * MEGABYTE})
    monkeypatch.setattr(Prefixes, "size", property(lambda _prefixes: 100 * MEGABYTE))
    monkeypatch.setattr(Prefixes, "unused", property(lambda _prefixes: (KEPT - 100) * MEGABYTE))
    machine.free = FREE - 400 * MEGABYTE
    published.publish(1)

    follower.look()

    assert megabytes(follower) == (1000 - 100 - (KEPT - 100)) // 2


def test_the_limit_stays_whatever_neighbours_do_and_falls_as_a_version_grows(
    published: PublishedLibrary, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {1: 50 * MEGABYTE, 2: 90 * MEGABYTE, 3: 30 * MEGABYTE}
    monkeypatch.setattr(
        answer_memory, "_bytes", lambda versions: sum(sizes[version.number] for version in versions)
    )
    follower, limits = Follower(published), []
    for number in sizes:
        published.publish(number, ["ada/plain", "bob/wide", "cy/attention"][:number])
        follower.look()
        limits.append(megabytes(follower))
        machine.free = 1  # whoever takes it

    first = (1000 - KEPT) // 2
    assert limits == [first, first - 20, first + 10]


def test_another_library_and_another_base_have_it_looked_up_anew(
    published: PublishedLibrary, small_library: SmallLibrary, machine: Machine, tmp_path: Path
) -> None:
    follower = Follower(published)
    published.publish(1)
    follower.look()

    machine.free = 800 * MEGABYTE
    second = PublishedLibrary(tmp_path / "store", small_library, name="more")
    second.publish(1)
    follower.look()
    assert megabytes(follower) == (800 - KEPT) // 2

    machine.free = 700 * MEGABYTE
    moved = another_base(published, tmp_path / "another")
    manifest = published.manifest(base=moved.base)
    published.store.set_library("tales", moved)
    published.store.write_version("tales", 2, manifest)
    published.store.set_current("tales", 2)
    follower.look()
    assert follower.served == 2
    assert megabytes(follower) == (700 - 2 * KEPT) // 2

    machine.free = 600 * MEGABYTE
    published.store.set_library("more", moved)
    second.store.write_version("more", 2, manifest)
    second.store.set_current("more", 2)
    follower.look()
    gc.collect()
    follower.look()
    assert megabytes(follower) == (600 - KEPT) // 2


def test_where_little_is_free_some_is_allowed_all_the_same_and_where_nobody_says_all(
    published: PublishedLibrary, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    published.publish(1)
    machine.free = 100 * MEGABYTE
    little, unknown = Follower(published), Follower(published)

    little.look()
    machine.free = None
    unknown.look()

    assert megabytes(little) == LEAST
    assert megabytes(unknown) is None
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert any("may take 64.0 MB: half of what is free, 0.00 MB, or at least" in line for line in warnings)
    assert any("nobody says how much memory is free" in line for line in warnings)


@pytest.mark.parametrize("said", [7, None])
def test_what_the_operator_says_stays(published: PublishedLibrary, said: int | None) -> None:
    published.publish(1)
    follower = Follower(published, Limits(memory_megabytes=said))

    follower.look()

    assert megabytes(follower) == said
    assert follower.libraries.memory.limit == (None if said is None else said * MEGABYTE)


@pytest.mark.parametrize(
    ("said", "found"), [([], AUTO), (["auto"], AUTO), (["0"], 0), (["300"], 300)], ids=str
)
def test_it_is_said_on_the_command_line(said: list[str], found: int | str) -> None:
    options = [part for one in said for part in ("--memory-megabytes", one)]

    assert arguments().parse_args(["--store", "s", *options]).memory_megabytes == found


def test_the_base_is_bounded_before_there_is_any_version(published: PublishedLibrary) -> None:
    follower = Follower(published)

    follower.look()

    assert follower.libraries["tales"].model is not None
    assert megabytes(follower) == (1000 - KEPT) // 2


@pytest.fixture
def usual(published: PublishedLibrary, machine: Machine) -> Iterator[LiveServer]:
    """A server that was told nothing, on a machine where almost nothing is free."""
    machine.free = 0
    published.publish(1)
    with live_server(published.url) as live:
        live.wait_for_version("tales", 1)
        live.wait_until(lambda: live.server.libraries.memory.limit is not None)
        yield live


def test_a_server_that_was_told_nothing_refuses_what_can_never_fit_and_lets_the_rest_wait(
    usual: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = usual.server.libraries["tales"].model
    monkeypatch.setitem(vars(model), "token_bytes", MEGABYTE)  # so that there are 64 tokens
    engine, seen, hear = usual.server.runner.engine, list[int](), Generation.hear

    def watched(generation: Generation, *given: Any) -> list[TextToken]:
        seen.append(engine.running)
        return hear(generation, *given)

    monkeypatch.setattr(Generation, "hear", watched)
    asked = {"model": "tales", "prompt": "The mill", "logit_bias": {}}
    refused = usual.post("/v1/completions", **asked, max_tokens=100)
    embedded = usual.post("/v1/embeddings", model="tales", input=[5] * 100)
    answered = usual.post("/v1/completions", **asked, max_tokens=25, n=8)

    for response in (refused, embedded):
        assert (response.status_code, response.json()["error"]["code"]) == (400, "memory_exceeded")
    assert "answers have 64 MiB, so expected at most 64 together" in refused.json()["error"]["message"]
    assert len(answered.json()["choices"]) == 8
    assert max(seen) == 2


def test_the_limit_is_on_the_metrics(usual: LiveServer, published: PublishedLibrary) -> None:
    usual.get("/metrics")
    told = usual.server.metrics.registry.get_sample_value("fletch_kv_limit_bytes")
    with live_server(published.url, limits=Limits(memory_megabytes=None)) as boundless:
        boundless.get("/metrics")
        unlimited = boundless.server.metrics.registry.get_sample_value("fletch_kv_limit_bytes")

    assert told == LEAST * MEGABYTE
    assert unlimited == math.inf
