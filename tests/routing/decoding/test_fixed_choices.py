"""Graphs for answers whose experts their prompts have chosen: each has its own in one step, or the plain base."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from routing import accelerated, capturing, graph_trial, triton_calls
from routing.capturing import captured
from routing.composed import ComposedModel, compose
from routing.fixed_routes import MOST_SLOTS, everywhere, slots_of, tried_routes
from routing.generation import Generation, Request
from routing.index import DEFAULT_POLICY, RoutingPolicy
from routing.ragged import Strand
from routing.routers import ROUTERS
from routing.routes import Route, Routing, route, routing_of
from routing.static_step import Choices
from routing.together import Reading, read_together
from tests.routing.as_a_gpu import CPU, Replays, with_graphs
from tests.routing.decoding.test_graphs import GREEDY
from tests.routing.kinds import llama_kinds
from tests.routing.libraries import SmallLibrary
from tests.routing.listening import Listener
from tests.routing.recorded import TensorRecorder
from tests.routing.test_together import from_scratch, run_together
from tests.tiny import VOCABULARY

SLOTS = 2
NAMED = Routing("arrow", top_k=1, experts=("eve/late",))  # of layer 1 alone, as a short list of one leaves it
BOTH = Routing("uniform", top_k=1, experts=("ada/plain", "eve/late"))
OTHER = Routing("single", top_k=1, experts=("bob/wide",))


def composed(library: SmallLibrary) -> ComposedModel:
    neutral = torch.randint(VOCABULARY, (4, 16), generator=torch.Generator().manual_seed(5))
    return compose(library.base(), library.experts(), RoutingPolicy(top_k=1, shortlist=1), neutral=neutral)


@pytest.fixture(scope="module")
def graphed(library: SmallLibrary) -> tuple[ComposedModel, Replays]:
    model = composed(library)
    with patch.object(capturing, "capacities", lambda _: [1, 4]):
        return model, with_graphs(model.routed, everywhere(model.pack), slots=SLOTS)


@pytest.fixture(scope="module")
def plain(library: SmallLibrary) -> ComposedModel:
    """Without graphs."""
    return composed(library)


Ask = Callable[[ComposedModel], Route | None]
Heard = tuple[list[Generation], list[Listener]]


def by(routing: Routing) -> Ask:
    return lambda model: model.queries.route(routing, (5,))


def nobodys(model: ComposedModel) -> Route:
    """A prompt that is left to the plain base."""
    return Route(model.pack, ROUTERS["arrow"], {})


def asked(model: ComposedModel, asks: list[Ask]) -> list[Request]:
    return [
        Request(tuple(range(2 + place, 60 - place)), 4 + place, ask(model), GREEDY, trace=True, voices=True)
        for place, ask in enumerate(asks)
    ]


def test_each_answer_has_its_own_experts_in_one_step(
    graphed: tuple[ComposedModel, Replays], plain: ComposedModel
) -> None:
    model, replays = graphed
    asks: list[Ask] = [by(BOTH), lambda _: None, by(NAMED), nobodys]
    replays.clear()

    ours = run_together(model.routed, asked(model, asks))
    theirs = run_together(plain.routed, asked(plain, asks))

    assert len(replays) == 6  # of seven tokens at most; the first ones came of the prompts
    assert [one.tokens for one in ours[1]] == [from_scratch(plain.routed, one) for one in asked(plain, asks)]
    assert _who_spoke(ours) == _who_spoke(theirs)
    assert [bool(one.shares and one.shares.by_expert()) for one in ours[0]] == [True, False, True, False]


def _who_spoke(heard: Heard) -> list[object]:
    """What is said of it, to the bit: it was known before."""
    generations, listeners = heard
    traces = [one.trace.by_module() if one.trace else {} for one in generations]
    modules = [
        {name: (part.experts.tolist(), part.weights.tolist()) for name, part in one.items()} for one in traces
    ]
    voices = [[token.voice for step in one.steps for token in step.tokens] for one in listeners]
    return [[one.shares and one.shares.by_expert() for one in generations], modules, voices]


def test_a_short_list_of_the_prompts_own_is_replayed(
    graphed: tuple[ComposedModel, Replays], plain: ComposedModel
) -> None:
    model, replays = graphed
    assert slots_of(model.pack, routing_of(model.policy)) == 1
    prompts = [(9, 8, 7, 6), (5, 60, 40), tuple(range(30))]

    def requests(of: ComposedModel) -> list[Request]:
        return [Request(prompt, 3, of.way(prompt), GREEDY) for prompt in prompts]

    replays.clear()
    _, listeners = run_together(model.routed, requests(model))

    assert len(replays) == 2
    assert [one.tokens for one in listeners] == [from_scratch(plain.routed, one) for one in requests(plain)]


THREE = replace(BOTH, experts=("ada/plain", "bob/wide", "di/patterned"))


@pytest.mark.parametrize(
    "asks",
    [
        [by(NAMED), by(Routing("arrow", top_k=2))],
        [by(NAMED), by(THREE)],
        [by(replace(BOTH, general=("bob/wide",), subtract=0.5))],
        [lambda _: None, lambda _: None],
        [by(NAMED)] * 5,
    ],
    ids=["a token has a say", "more experts", "subtracted", "no version", "more answers"],
)
def test_what_no_buffer_tells_is_read_as_before(
    graphed: tuple[ComposedModel, Replays], plain: ComposedModel, asks: list[Ask]
) -> None:
    model, replays = graphed
    replays.clear()

    def requests(of: ComposedModel) -> list[Request]:
        return [Request((5, 6, 7), 3, ask(of), GREEDY) for ask in asks]

    _, listeners = run_together(model.routed, requests(model))

    assert not replays
    assert [one.tokens for one in listeners] == [from_scratch(plain.routed, one) for one in requests(plain)]


def test_another_version_has_no_part_in_a_step(library: SmallLibrary) -> None:
    model, other = composed(library), composed(library)
    with patch.object(capturing, "capacities", lambda _: [2]):
        replays = with_graphs(model.routed, everywhere(model.pack), slots=1)
    way, theirs = by(OTHER)(model), route(other.pack, OTHER)

    for routes, counted in (([way, theirs], 0), ([theirs], 0), ([way, way], 1)):
        replays.clear()
        run_together(model.routed, [Request((5, 6, 7), 2, one, GREEDY) for one in routes])
        assert len(replays) == counted


@pytest.mark.parametrize(
    ("policy", "slots"),
    [
        (DEFAULT_POLICY, 1),
        (RoutingPolicy(top_k=2), 0),
        (RoutingPolicy(top_k=1), 0),
        (RoutingPolicy(top_k=3, shortlist=1), 1),
        (RoutingPolicy(top_k=1, shortlist=2), 0),
        (RoutingPolicy(router="uniform", top_k=1, shortlist=2), 2),
        (RoutingPolicy(router="uniform", top_k=1, general=("bob/wide",)), 4),
        (RoutingPolicy(router="uniform", top_k=1), 0),
        (RoutingPolicy(router="retrieval", top_k=3), 3),
        (RoutingPolicy(top_k=1, shortlist=1, abstain=0.5), 0),
        (RoutingPolicy(top_k=1, shortlist=1, calibrated=True), 0),
        (RoutingPolicy(top_k=1, shortlist=1, general=("bob/wide",), subtract=0.5), 0),
    ],
)
def test_whether_a_policys_tokens_have_a_say(llama: SmallLibrary, policy: RoutingPolicy, slots: int) -> None:
    model = composed(llama)
    assert len(model.experts) == MOST_SLOTS + 1

    assert slots_of(model.pack, routing_of(policy)) == slots


def test_nobody_has_slots_in_an_empty_version_nor_the_only_expert_of_plain_arrow(llama: SmallLibrary) -> None:
    experts = llama.experts()
    alone = compose(llama.base(), {"eve/late": experts["eve/late"]}, RoutingPolicy(top_k=1))
    empty = compose(llama.base(), {}, DEFAULT_POLICY)

    assert slots_of(alone.pack, routing_of(alone.policy)) == 0
    assert slots_of(empty.pack, routing_of(empty.policy)) == 0


def test_experts_that_work_through_the_bases_weight_have_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = llama_kinds(tmp_path)
    model = compose(kinds.base(), kinds.experts(), RoutingPolicy(router="uniform", top_k=1, shortlist=1))
    slots = slots_of(model.pack, routing_of(model.policy))

    with caplog.at_level(logging.INFO):
        with_graphs(model.routed, everywhere(model.pack), slots=slots)

    assert slots == 1
    assert not model.routed.graphs
    assert "without CUDA graphs: some experts work through the base's own weights" in caplog.text


def test_trials_have_as_many_experts_as_slots_and_fewer_and_none(llama: SmallLibrary) -> None:
    model = composed(llama)
    widths = [
        0 if way is None or way.fixed is None else way.fixed.experts.shape[1]
        for way in tried_routes(model.pack, 2)
    ]

    assert widths == [2, 0, 2, 1, 2]


def test_buffers_say_what_routes_say_and_nothing_of_the_step_before(library: SmallLibrary) -> None:
    model = composed(library)
    ways = [way for way in (ask(model) for ask in (by(OTHER), by(BOTH), nobodys, by(NAMED))) if way]
    choices = Choices(list(model.pack.modules), 4, SLOTS, CPU)

    for first in (0, 1, 3):
        choices.fill([way.fixed for way in ways[first:]])
        for name, found in choices.by_module.items():
            wanted = torch.zeros(4, len(model.pack.modules[name]))
            for place, way in enumerate(ways[first:]):
                if (said := way.settled.get(name)) is not None:
                    wanted[place, said.experts[0]] = said.weights[0]
            shares = torch.zeros_like(wanted).scatter_add_(1, found.experts, found.weights)
            assert torch.equal(shares, wanted)
            assert found.experts.is_contiguous()  # kernels read it where it lies
            assert found.weights.is_contiguous()


class Deaf(Choices):
    """Told once, and never again."""

    def fill(self, fixed: object) -> None:
        """Nothing is written."""


@pytest.mark.parametrize(
    ("tolerance", "said"),
    [(1e-3, "1 answers: off by"), (1e9, "1 answers: whoever speaks, the logits are the same")],
)
def test_a_replay_that_does_not_hear_who_speaks_is_not_used(
    llama: SmallLibrary,
    tolerance: float,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = composed(llama)
    monkeypatch.setattr(capturing, "capacities", lambda _: [1])
    monkeypatch.setattr(capturing, "Choices", Deaf)
    monkeypatch.setattr(graph_trial, "TOLERANCE", {torch.float32: tolerance})

    with_graphs(model.routed, everywhere(model.pack), slots=1)

    assert not model.routed.graphs
    [line] = caplog.messages
    assert f"without CUDA graphs, which is slower: ArithmeticError: {said}" in line


def test_the_kernels_read_who_speaks_where_it_lies(
    llama: SmallLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    experts = llama.experts()
    two = {name: experts[name] for name in ("cy/attention", "eve/late")}
    model = compose(llama.base(), two, RoutingPolicy(top_k=1, shortlist=1))
    ways = [route(model.pack, Routing("single", 1, experts=(name,))) for name in two]
    strands = [Strand(), Strand()]
    assert model.routed.reads_together
    for strand, way in zip(strands, ways, strict=True):
        read_together(model.routed, [Reading((5, 6, 7), strand, way)])
    monkeypatch.setattr(accelerated, "kernels", lambda *_: triton_calls)
    monkeypatch.setattr(capturing, "capacities", lambda _: [2])

    decoder = captured(model.routed, everywhere(model.pack), slots=1, most=2, recorder=TensorRecorder(CPU))
    for said in ([*ways], [ways[0]], [None, ways[1]]):
        ours, theirs = ([one.beginning(3) for one in strands[: len(said)]] for _ in range(2))
        fixed = [None if way is None else way.fixed for way in said]
        found, record = decoder.step([9] * len(said), ours, None, fixed)
        pairs = zip(theirs, said, strict=True)
        wanted = read_together(model.routed, [Reading((9,), strand, way) for strand, way in pairs])
        torch.testing.assert_close(found, torch.cat([one.logits for one in wanted]), atol=1e-4, rtol=1e-4)
        assert record is None
