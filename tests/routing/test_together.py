"""Many answers in one pass: each is the answer that it is alone, whoever reads beside it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import MistralConfig, MistralForCausalLM

from routing.base import Base, load_base
from routing.composed import ComposedModel, compose
from routing.engine import PREFILL_BESIDE, Engine, Step
from routing.generation import Generation, Request
from routing.index import RoutingPolicy
from routing.ragged import ATTENTION
from routing.routed import RoutedModel
from routing.routes import Route, Routing
from routing.sampling import Sampling
from routing.spec import BaseRef
from routing.traces import Record, said_ahead
from tests.routing.libraries import TEXT, SmallLibrary, gpt2_library, llama_library, t5_library
from tests.routing.listening import Listener
from tests.tiny import CONTEXT, VOCABULARY, tiny_llama

GREEDY = Sampling(0.0)
ALL_WAYS = [
    None,
    Routing("arrow", top_k=2),
    Routing("arrow", top_k=1, temperature=0.5),
    Routing("arrow", top_k=3, experts=("ada/plain", "bob/wide")),
    Routing("spectral", top_k=2, abstain=0.4),
    Routing("uniform", top_k=1),
    Routing("single", top_k=1, experts=("eve/late",)),
    Routing("evidence", top_k=2, calibrated=True),
    Routing("retrieval", top_k=2, experts=("ada/plain", "eve/late")),
    Routing("arrow", top_k=1, shortlist=1),
    Routing("arrow", top_k=2, prior_weight=2.0),
    Routing("arrow", top_k=2, general=("bob/wide",), subtract=0.5),
]


@pytest.fixture(scope="module", params=[llama_library, gpt2_library], ids=["llama", "gpt2"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return request.param(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def model(library: SmallLibrary) -> ComposedModel:
    base = library.base()
    neutral = torch.randint(VOCABULARY, (4, 16), generator=torch.Generator().manual_seed(5))
    return compose(base, library.experts(), RoutingPolicy(top_k=2), neutral=neutral)


def way_of(model: ComposedModel, routing: Routing | None, prompt: Sequence[int]) -> Route | None:
    return None if routing is None else model.queries.route(routing, prompt)


def run_together(model: RoutedModel, requests: Sequence[Request]) -> tuple[list[Generation], list[Listener]]:
    engine, listeners = Engine(), [Listener() for _ in requests]
    generations = [Generation(model, request) for request in requests]
    engine.submit(list(zip(generations, listeners, strict=True)))
    while engine.step():
        pass
    return generations, listeners


def from_scratch(model: RoutedModel, request: Request) -> list[int]:
    """The authority: the likeliest token after everything so far, read anew and alone every time."""
    text, ends = list(request.prompt), {model.base.tokenizer.eos_token_id}
    for _ in range(request.max_tokens):
        logits = model.logits(torch.tensor([text]), route=request.route)[0, -1]
        if int(logits.argmax()) in ends:
            break
        text.append(int(logits.argmax()))
    return text[len(request.prompt) :]


prompts = st.lists(st.integers(2, VOCABULARY - 1), min_size=1, max_size=40)


@given(asked=st.lists(st.tuples(prompts, st.integers(0, len(ALL_WAYS) - 1)), min_size=2, max_size=6))
@settings(max_examples=15)
def test_every_answer_is_the_one_that_it_is_alone(
    model: ComposedModel, asked: list[tuple[list[int], int]]
) -> None:
    known = [way for way in ALL_WAYS if way is None or set(way.experts or ()) <= set(model.experts)]
    requests = [
        Request(tuple(prompt), 6, route=way_of(model, known[choice % len(known)], prompt), sampling=GREEDY)
        for prompt, choice in asked
    ]

    _, listeners = run_together(model.routed, requests)

    assert [one.errors for one in listeners] == [[]] * len(requests)
    assert [one.tokens for one in listeners] == [from_scratch(model.routed, one) for one in requests]


def test_the_pieces_of_a_pass_share_the_base(model: ComposedModel) -> None:
    requests = [Request(tuple(range(2, 9 + place)), 5, sampling=GREEDY) for place in range(4)]

    with patch.object(RoutedModel, "run_pieces", autospec=True, side_effect=RoutedModel.run_pieces) as passes:
        _, listeners = run_together(model.routed, requests)

    assert {len(one.tokens) for one in listeners} == {5}
    assert passes.call_count == 5  # all prompts and a token each, then four tokens each


def test_who_spoke_is_told_to_each_answer_apart(model: ComposedModel) -> None:
    def request(prompt: Sequence[int], routing: Routing) -> Request:
        return Request(tuple(prompt), 4, way_of(model, routing, prompt), sampling=GREEDY, trace=True)

    asked = [
        request(range(2, 12), Routing("arrow", top_k=2)),
        request(range(20, 23), Routing("arrow", top_k=2)),
        request(range(30, 37), Routing("single", top_k=1, experts=("eve/late",))),
    ]

    together, _ = run_together(model.routed, asked)
    alone = [run_together(model.routed, [one])[0][0] for one in asked]

    for one, other in zip(together, alone, strict=True):
        assert one.shares is not None
        assert other.shares is not None
        assert one.shares.by_expert() == pytest.approx(other.shares.by_expert())
        assert one.trace is not None
        assert other.trace is not None
        theirs = other.trace.by_module()
        assert one.trace.by_module().keys() == theirs.keys()
        for name, module in one.trace.by_module().items():
            assert torch.equal(module.experts, theirs[name].experts)
            torch.testing.assert_close(module.weights, theirs[name].weights, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("way", range(1, len(ALL_WAYS)))
def test_what_is_known_before_is_what_every_module_would_have_told(model: ComposedModel, way: int) -> None:
    prompt = range(2, 9)
    route = way_of(model, ALL_WAYS[way], prompt)
    assert route is not None
    told = Record(route.pack)
    model.routed.logits(torch.tensor([list(prompt)]), route=route, witness=told)

    known = said_ahead(route, len(prompt))

    by_tokens = {name for name in route.seats if name not in route.settled}
    assert (known is None) == bool(by_tokens or not route.seats)
    if known is not None:
        its = dict(known.modules)
        assert its.keys() == dict(told.modules).keys()
        for name, module in told.modules:
            assert torch.equal(module.experts, its[name].experts)
            assert torch.equal(module.weights.expand_as(module.experts), its[name].weights)


def test_two_versions_are_read_side_by_side(library: SmallLibrary, model: ComposedModel) -> None:
    fewer = {name: factors for name, factors in library.experts().items() if name != "ada/plain"}
    older = compose(model.routed.base, fewer, RoutingPolicy(top_k=1))
    ways = [model.way(TEXT), older.way(TEXT), None, model.way(TEXT), older.way(TEXT)]
    requests = [Request(model.tokens(TEXT), 5, route=way, sampling=GREEDY) for way in ways]

    _, listeners = run_together(model.routed, requests)

    assert [one.tokens for one in listeners] == [from_scratch(model.routed, one) for one in requests]


def test_echoes_and_likelihoods_are_of_ones_own_tokens(model: ComposedModel) -> None:
    request = Request(model.tokens(TEXT), 3, model.way(TEXT), GREEDY, logprobs=2, echo=True)
    others = [Request((5, 6, 7), 3, sampling=GREEDY), Request((8, 9), 3, model.way(TEXT), GREEDY, logprobs=1)]

    _, (told, *_) = run_together(model.routed, [request, *others])

    logits = model.routed.logits(torch.tensor([told.tokens]), route=request.route)[0].log_softmax(-1)
    said = [token for step in told.steps for token in step.tokens]
    assert [token.token for token in said[: len(request.prompt)]] == list(request.prompt)
    assert said[0].likelihood is None
    for place, token in enumerate(said[1:], 1):
        assert token.likelihood is not None
        assert token.likelihood.logprob == pytest.approx(float(logits[place - 1, token.token]), abs=1e-4)


def test_a_prompt_is_echoed_without_its_likelihoods_too(model: ComposedModel) -> None:
    request = Request(model.tokens(TEXT), 2, model.way(TEXT), GREEDY, echo=True)

    _, (told,) = run_together(model.routed, [request])

    assert told.errors == []
    assert told.tokens[: len(request.prompt)] == list(request.prompt)
    assert all(token.likelihood is None for step in told.steps for token in step.tokens)


def test_a_long_prompt_does_not_silence_the_others(model: ComposedModel) -> None:
    engine = Engine()
    writer = Generation(model.routed, Request((5, 6), 40, sampling=GREEDY))
    engine.submit([(writer, Listener())])
    engine.step()
    long = tuple(place % 300 + 2 for place in range(CONTEXT - 10))
    reader = Generation(model.routed, Request(long, 2, sampling=GREEDY))
    engine.submit([(reader, Listener())])

    engine.step()

    assert writer.completion_tokens == 2
    assert len(reader.read_tokens) == PREFILL_BESIDE < len(long)

    engine.step()

    assert writer.completion_tokens == 3
    assert (reader.read_tokens, reader.completion_tokens) == (list(long), 1)


def test_who_asks_for_much_does_not_keep_others_waiting(model: ComposedModel) -> None:
    engine, ended = Engine(running=2, waiting=20), []

    def answers(caller: str, count: int) -> None:
        def heard(step: Step) -> None:
            if step.finish is not None:
                ended.append(caller)

        for _ in range(count):
            request = Request((5, 6, 7), 3, sampling=GREEDY)
            engine.submit([(Generation(model.routed, request), heard)], caller=caller)

    answers("busy", 8)
    answers("seldom", 1)
    answers("busy", 2)
    while engine.step():
        pass

    assert len(ended) == 11
    assert ended.index("seldom") <= 3  # two ran already, and one of the next two is not busy's


def test_one_that_fails_ends_alone(model: ComposedModel) -> None:
    class Broken(Exception):
        pass

    whole = RoutedModel.run_pieces

    def failing(routed: RoutedModel, ids: Sequence[int], *rest: object) -> torch.Tensor:
        if 300 in ids:
            whole(routed, ids, *rest)  # type: ignore[arg-type]  # as far as it may have come
            raise Broken
        return whole(routed, ids, *rest)  # type: ignore[arg-type]

    sound = [Request((5, 6, 7), 6, model.way(TEXT), GREEDY), Request((9, 8), 6, sampling=GREEDY)]
    with patch.object(RoutedModel, "run_pieces", failing):
        _, listeners = run_together(model.routed, [sound[0], Request((300, 4), 6, sampling=GREEDY), sound[1]])

    assert listeners[1].failures == [Broken]
    assert [listeners[place].tokens for place in (0, 2)] == [from_scratch(model.routed, one) for one in sound]


def windowed_base(folder: Path) -> Base:
    """A Mistral whose tokens see eight."""
    config = MistralConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        sliding_window=8,
        initializer_range=0.2,
        eos_token_id=1,
    )
    return load_base(BaseRef(str(_base_of(MistralForCausalLM(config), folder))))


def test_windows_are_kept_by_bases_that_have_some(tmp_path: Path) -> None:
    model = RoutedModel(windowed_base(tmp_path))
    requests = [Request(tuple(range(2, 2 + length)), 20, sampling=GREEDY) for length in (3, 30, 150)]

    _, listeners = run_together(model, requests)

    assert model.reads_together
    assert [one.tokens for one in listeners] == [from_scratch(model, one) for one in requests]


def test_what_cannot_read_together_takes_turns(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoders = compose(t5_library(tmp_path).base(), {})
    assert not encoders.routed.reads_together
    assert "its encoder reads a prompt as a whole" in caplog.text

    odd = RoutedModel(load_base(BaseRef(str(tiny_llama()))))
    monkeypatch.setattr("routing.ragged._seen", lambda *_: None)  # every token sees everything
    with caplog.at_level(logging.WARNING):
        assert not odd.reads_together
    assert "logits differ by" in caplog.text
    assert odd.base.model.config._attn_implementation != ATTENTION
    requests = [Request((5, 6, 7), 6, sampling=GREEDY), Request((9, 8), 6, sampling=GREEDY)]

    _, listeners = run_together(odd, requests)

    assert [one.tokens for one in listeners] == [from_scratch(odd, one) for one in requests]


def _base_of(model: MistralForCausalLM, folder: Path) -> Path:
    """A base folder with this model's weights and a tokenizer."""
    torch.manual_seed(0)
    model.save_pretrained(folder)
    for path in Path(tiny_llama()).glob("*token*"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder
