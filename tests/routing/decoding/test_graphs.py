"""Decoding by graphs: answers come out as without, and where there can be no graph there is the plain way."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

from routing import accelerated, capturing, triton_calls
from routing.capturing import capacities, captured
from routing.composed import ComposedModel, compose
from routing.fixed_routes import everywhere
from routing.generation import Generation, Request
from routing.graphs import Graphs, Made
from routing.index import RoutingPolicy
from routing.prefixes import Prefixes
from routing.ragged import Strand
from routing.routed import RoutedModel
from routing.routes import Route, Routing
from routing.sampling import Sampling
from routing.together import Reading, read_together
from tests.routing.as_a_gpu import CPU, MOST, Replays, with_graphs
from tests.routing.libraries import SmallLibrary
from tests.routing.recorded import TensorRecorder
from tests.routing.test_together import from_scratch, run_together, windowed_base

GREEDY = Sampling(0.0)
POLICY = RoutingPolicy(top_k=2)
PROMPTS = (tuple(range(2, 64)), (9, 8, 7, 6))  # the first one's memory grows while its answer is written


@pytest.fixture(scope="module")
def graphed(library: SmallLibrary) -> tuple[ComposedModel, Replays]:
    model = compose(library.base(), library.experts(), POLICY)
    return model, with_graphs(model.routed, model.way(""))


@pytest.fixture(scope="module")
def untaught(llama: SmallLibrary) -> ComposedModel:
    """Without graphs."""
    return compose(llama.base(), llama.experts(), POLICY)


@pytest.fixture(scope="module")
def plain(library: SmallLibrary) -> ComposedModel:
    return compose(library.base(), library.experts(), POLICY)


def test_answers_are_the_same_and_say_alike_who_spoke(
    graphed: tuple[ComposedModel, Replays], plain: ComposedModel
) -> None:
    model, replays = graphed

    def requests(of: ComposedModel) -> list[Request]:
        return [
            Request(prompt, 4 + place, of.way(""), GREEDY, trace=True, voices=True)
            for place, prompt in enumerate(PROMPTS)
        ]

    replays.clear()
    generations, listeners = run_together(model.routed, requests(model))
    others, told = run_together(plain.routed, requests(plain))

    assert len(replays) == 4  # three for both and one for whoever writes more; before, the prompts were read
    assert [one.tokens for one in listeners] == [from_scratch(plain.routed, one) for one in requests(plain)]
    for mine, its, said, expected in zip(generations, others, listeners, told, strict=True):
        assert mine.shares is not None
        assert its.shares is not None
        assert mine.trace is not None
        assert its.trace is not None
        assert mine.shares.by_expert() == pytest.approx(its.shares.by_expert(), abs=1e-4)
        wanted = its.trace.by_module()
        assert list(mine.trace.by_module()) == list(wanted)
        for name, module in mine.trace.by_module().items():
            torch.testing.assert_close(module.weights, wanted[name].weights, atol=1e-4, rtol=1e-3)
            heard = module.weights > 0
            assert torch.equal(module.experts[heard], wanted[name].experts[heard])
        voices = [[token.voice for step in one.steps for token in step.tokens] for one in (said, expected)]
        assert [one and one.modules for one in voices[0]] == [one and one.modules for one in voices[1]]
        assert [one and one.leading for one in voices[0]] == [one and one.leading for one in voices[1]]


@pytest.mark.parametrize("other", ["prompt", "rule", "base", "more answers than may be"])
def test_what_no_graph_was_made_of_is_read_as_before(
    graphed: tuple[ComposedModel, Replays], plain: ComposedModel, other: str
) -> None:
    model, replays = graphed
    ways: dict[str, list[Route | None]] = {
        "prompt": [model.way("")],
        "rule": [model.way(""), model.queries.route(Routing("arrow", top_k=1), (5,))],
        "base": [model.way(""), None],
        "more answers than may be": [model.way("")] * (MOST + 1),
    }
    tokens = 1 if other == "prompt" else 3
    requests = [Request((5, 6, 7), tokens, way, GREEDY) for way in ways[other]]
    replays.clear()

    _, listeners = run_together(model.routed, requests)

    assert not replays
    expected = [
        replace(
            one, route=plain.queries.route(one.route.rule[0], (5,)) if one.route and one.route.rule else None
        )
        for one in requests
    ]
    assert [one.tokens for one in listeners] == [from_scratch(plain.routed, one) for one in expected]


def test_the_next_turn_of_a_conversation_goes_on_by_graphs(
    graphed: tuple[ComposedModel, Replays], plain: ComposedModel
) -> None:
    model, replays = graphed
    prompt = tuple(range(2, 40))
    with patch.object(model.routed, "prefixes", Prefixes(megabytes=64)):
        run_together(model.routed, [Request(prompt, 3, model.way(""), GREEDY, conversation="ours")])
        replays.clear()
        again = Request((*prompt, 50, 51), 4, model.way(""), GREEDY, conversation="ours")
        [generation], [told] = run_together(model.routed, [again])

    assert generation.recalled_tokens == len(prompt)
    assert len(replays) == 3
    assert told.tokens == from_scratch(plain.routed, replace(again, route=plain.way("")))


def test_a_step_that_fails_is_taken_without_graphs_as_all_are_then(
    graphed: tuple[ComposedModel, Replays], plain: ComposedModel, caplog: pytest.LogCaptureFixture
) -> None:
    model, replays = graphed
    request = Request((5, 6, 7), 4, model.way(""), GREEDY)
    [_], [expected] = run_together(model.routed, [request])
    generation = Generation(model.routed, Request((5, 6, 7), 4, model.way(""), GREEDY))
    generation.advance()
    decoder = model.routed.graphs.decoder([model.way("")])
    assert decoder is not None

    class Broken(Exception):
        pass

    def broken() -> None:
        decoder.graphs[1].replay()
        raise Broken

    failing = replace(decoder, graphs={1: replace(decoder.graphs[1], replay=broken)})
    memory = generation._memory
    assert isinstance(memory, Strand)
    graphs = Graphs()
    graphs.keep(model.way(""), failing)
    replays.clear()
    with patch.object(model.routed, "graphs", graphs):
        said = [token.token for token in generation.advance()]
        assert memory.length == len(generation.read_tokens) == 4
        while generation.finish is None:
            said += [token.token for token in generation.advance()]
        graphs.keep(model.way(""), decoder)
        assert not graphs

    assert said == expected.tokens[-len(said) :]
    assert not replays
    assert caplog.text.count("from now on answers are decoded without CUDA graphs: Broken") == 1


def test_a_step_that_lacks_memory_leaves_no_trace_and_the_graphs_as_they_are(
    graphed: tuple[ComposedModel, Replays],
) -> None:
    model, _ = graphed
    generation = Generation(model.routed, Request((5, 6, 7), 4, model.way(""), GREEDY))
    generation.advance()
    decoder = model.routed.graphs.decoder([model.way("")])
    assert decoder is not None

    def short() -> None:
        raise torch.OutOfMemoryError

    failing = replace(decoder, graphs={1: replace(decoder.graphs[1], replay=short)})
    graphs, memory = Graphs(), generation._memory
    graphs.keep(model.way(""), failing)
    assert isinstance(memory, Strand)
    with patch.object(model.routed, "graphs", graphs), pytest.raises(torch.OutOfMemoryError):
        generation.advance()

    assert graphs
    assert memory.length == len(generation.read_tokens) == 3


class Flawed(TensorRecorder):
    """Replays what comes out otherwise."""

    flaw = "logits"

    def record(self, step: Callable[[], Made]) -> tuple[Callable[[], None], Made]:
        replay, made = super().record(step)
        logits, chosen = made
        assert chosen is not None

        def flawed() -> None:
            replay()
            if self.flaw == "logits":
                logits.mul_(-1)
            else:
                chosen.experts.fill_(1)

        return flawed, made


class Unwilling(TensorRecorder):
    """A driver that captures nothing."""

    def record(self, _step: Callable[[], Made]) -> tuple[Callable[[], None], Made]:
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize(
    ("recorder", "flaw", "said"),
    [
        (Flawed, "logits", "ArithmeticError: 1 answers: off by"),
        (Flawed, "experts", "ArithmeticError: shares of 1 answers' experts: off by"),
        (Unwilling, "", "RuntimeError: operation not permitted"),
    ],
)
def test_graphs_that_do_not_decode_as_passes_do_are_not_used(
    untaught: ComposedModel,
    recorder: type[Flawed],
    flaw: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Flawed, "flaw", flaw)

    with patch.object(capturing, "capacities", lambda _: [1]):
        with_graphs(untaught.routed, untaught.way(""), recorder)

    assert not untaught.routed.graphs
    [line] = caplog.messages
    assert f"answers are decoded without CUDA graphs, which is slower: {said}" in line


@pytest.mark.parametrize(
    "routing", [Routing("spectral", top_k=2), Routing("arrow", top_k=1, experts=("ada/plain",))], ids=str
)
def test_who_is_not_routed_by_arrow_alone_has_none(
    untaught: ComposedModel, routing: Routing, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        with_graphs(untaught.routed, untaught.queries.route(routing, (5,)), recorder=None)

    assert not untaught.routed.graphs
    assert "without CUDA graphs: tokens are routed neither by Arrow alone" in caplog.text


@pytest.mark.parametrize("slots", [0, 1], ids=["tokens choose", "prompts have chosen"])
def test_graphs_go_with_their_version(llama: SmallLibrary, slots: int) -> None:
    base = llama.base()
    model = compose(base, llama.experts(), POLICY)
    with patch.object(capturing, "capacities", lambda _: [1]):
        with_graphs(model.routed, everywhere(model.pack) if slots else model.way(""), slots=slots)
        routed, size = model.routed, model.routed.graphs.size
        del model
        gc.collect()

    assert size > 0
    assert not routed.graphs
    assert routed.graphs.size == 0


def test_a_window_is_kept(tmp_path: Path) -> None:
    model = RoutedModel(windowed_base(tmp_path))
    assert model.reads_together
    decoder = captured(model, None, most=1, recorder=TensorRecorder(CPU))
    strand, tokens = Strand(), tuple(range(2, 32))
    read_together(model, [Reading(tokens, strand, None)])
    other = strand.beginning(strand.length)

    for token in (5, 6):
        found, record = decoder.step([token], [strand], None)
        [wanted] = read_together(model, [Reading((token,), other, None)])
        torch.testing.assert_close(found, wanted.logits, atol=1e-4, rtol=1e-4)
        assert record is None


def test_kernels_are_recorded_too(llama: SmallLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    experts = llama.experts()
    model = compose(llama.base(), {"eve/late": experts["eve/late"]}, RoutingPolicy(top_k=1))
    way, strand = model.way(""), Strand()
    assert model.routed.reads_together
    read_together(model.routed, [Reading((5, 6, 7), strand, way)])
    monkeypatch.setattr(accelerated, "kernels", lambda *_: triton_calls)

    decoder = captured(model.routed, way, most=1, recorder=TensorRecorder(CPU))
    other = strand.beginning(strand.length)
    found, record = decoder.step([9], [strand], model.pack)

    [wanted] = read_together(model.routed, [Reading((9,), other, way)])
    torch.testing.assert_close(found, wanted.logits, atol=1e-4, rtol=1e-4)
    assert record is not None
    assert wanted.record is not None
    assert record.widths == wanted.record.widths


def test_there_is_a_graph_for_as_many_answers_as_may_run() -> None:
    assert list(capacities(1)) == [1]
    assert list(capacities(16)) == [1, 2, 4, 8, 16]
    assert list(capacities(17)) == [1, 2, 4, 8, 16, 32]
    assert list(capacities(1000))[-1] == capturing.MOST
