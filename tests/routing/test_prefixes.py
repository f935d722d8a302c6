"""The turns of a conversation: what was read before is recalled, and nothing comes out differently for it."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import pytest
import torch

from routing.composed import ComposedModel, compose
from routing.generation import Generation, Request
from routing.index import DEFAULT_POLICY, RoutingPolicy
from routing.neutral import neutral_tokens
from routing.prefixes import SHORTEST, Prefixes
from routing.queries import QueryRouter
from routing.routed import RoutedModel
from routing.routes import PromptScores, Route, Routing
from routing.sampling import Sampling
from tests.routing.libraries import SmallLibrary, llama_library

GREEDY = Sampling(0.0)
FIRST = tuple(range(2, 40))
SECOND = (*FIRST, *range(60, 75))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def model(library: SmallLibrary) -> ComposedModel:
    return compose(library.base(), library.experts(), RoutingPolicy(top_k=2))


@pytest.fixture
def remembering(model: ComposedModel) -> RoutedModel:
    return RoutedModel(model.routed.base, prefixes=Prefixes(megabytes=64))


def asked(
    model: RoutedModel, prompt: Sequence[int], way: Route | None, *, key: str | None = "ours", tokens: int = 6
) -> tuple[Generation, list[int]]:
    generation = Generation(model, Request(tuple(prompt), tokens, way, GREEDY, conversation=key))
    said = []
    while generation.finish is None:
        said += [token.token for token in generation.advance()]
    return generation, said


def spoken(generation: Generation) -> dict[str, float]:
    return {} if generation.shares is None else generation.shares.by_expert()


@pytest.mark.parametrize(
    "routing",
    [
        Routing("arrow", top_k=2),
        Routing("uniform", top_k=1),
        Routing("arrow", top_k=1, experts=("eve/late",)),
        None,
    ],
    ids=["arrow", "uniform", "one expert", "base"],
)
def test_a_second_turn_is_answered_as_if_it_were_read_anew(
    model: ComposedModel, remembering: RoutedModel, routing: Routing | None
) -> None:
    def way(prompt: Sequence[int]) -> Route | None:
        return None if routing is None else model.queries.route(routing, prompt)

    first, said = asked(remembering, FIRST, way(FIRST))
    prompt = (*FIRST, *said, *range(60, 75))

    second, answer = asked(remembering, prompt, way(prompt))

    anew, expected = asked(model.routed, prompt, way(prompt), key=None)
    assert first.recalled_tokens == 0
    assert second.recalled_tokens == len(FIRST) + len(said) - (first.finish == "length")
    assert answer == expected
    assert second.read_tokens == anew.read_tokens
    assert spoken(second) == pytest.approx(spoken(anew), abs=1e-5)


def test_a_branch_of_the_conversation_recalls_what_is_common(
    model: ComposedModel, remembering: RoutedModel
) -> None:
    way = model.way(FIRST)
    asked(remembering, SECOND, way)

    other, answer = asked(remembering, (*FIRST, 200, 201, 202), way)

    assert other.recalled_tokens == len(FIRST)
    assert answer == asked(model.routed, (*FIRST, 200, 201, 202), way, key=None)[1]


def test_nothing_is_recalled_without_the_key_or_by_another_rule_or_version(
    library: SmallLibrary, model: ComposedModel, remembering: RoutedModel
) -> None:
    asked(remembering, FIRST, model.way(FIRST))
    other = compose(model.routed.base, library.experts(), RoutingPolicy(top_k=2))

    for key, way in [
        (None, model.way(SECOND)),
        ("theirs", model.way(SECOND)),
        ("ours", None),
        ("ours", model.queries.route(Routing("arrow", top_k=1), SECOND)),
        ("ours", other.way(SECOND)),
    ]:
        assert asked(remembering, SECOND, way, key=key)[0].recalled_tokens == 0


def test_whoever_asks_about_the_prompts_tokens_has_them_read(
    model: ComposedModel, remembering: RoutedModel
) -> None:
    way = model.way(FIRST)
    asked(remembering, FIRST, way)

    for more in ({"trace": True}, {"echo": True}):
        generation = Generation(
            remembering,
            Request(SECOND, 2, way, GREEDY, conversation="ours", **more),  # type: ignore[arg-type]
        )
        generation.advance()
        assert generation.recalled_tokens == 0


@pytest.mark.parametrize("part", ["recall", "keep"])
def test_what_fails_while_it_is_remembered_costs_time_alone(
    remembering: RoutedModel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, part: str
) -> None:
    _, said = asked(remembering, FIRST, None)

    def failing(*_: object) -> None:
        raise RuntimeError("can't allocate memory")

    monkeypatch.setattr(Prefixes, part, failing)
    again, answer = asked(remembering, FIRST, None)

    assert answer == said
    assert again.recalled_tokens == (0 if part == "recall" else len(FIRST) - 1)
    assert "can't allocate memory" in caplog.text


def test_short_beginnings_are_read_again(model: ComposedModel, remembering: RoutedModel) -> None:
    asked(remembering, FIRST, None)

    assert asked(remembering, (*FIRST[: SHORTEST - 1], 300), None)[0].recalled_tokens == 0
    assert asked(remembering, (*FIRST[:SHORTEST], 300), None)[0].recalled_tokens == SHORTEST


def test_no_more_is_kept_than_there_is_room_for(model: ComposedModel) -> None:
    nothing = RoutedModel(model.routed.base, prefixes=Prefixes(megabytes=0))
    asked(nothing, FIRST, None)
    assert asked(nothing, SECOND, None)[0].recalled_tokens == 0

    prefixes = Prefixes(megabytes=1)
    small = RoutedModel(model.routed.base, prefixes=prefixes)
    for turn in range(120):
        asked(
            small, torch.randint(2, 300, (80,), generator=torch.Generator().manual_seed(turn)).tolist(), None
        )
        assert prefixes.size <= 2**20

    assert prefixes.size > 2**19


def test_a_later_turn_takes_the_place_of_an_earlier_one(model: ComposedModel) -> None:
    prefixes = Prefixes(megabytes=64)
    remembering = RoutedModel(model.routed.base, prefixes=prefixes)
    _, said = asked(remembering, FIRST, None)
    before = prefixes.size

    asked(remembering, (*FIRST, *said, *range(60, 75)), None)

    assert prefixes.size < 2 * before


def test_versions_that_are_gone_are_not_held(library: SmallLibrary, model: ComposedModel) -> None:
    prefixes = Prefixes(megabytes=64)
    remembering = RoutedModel(model.routed.base, prefixes=prefixes)
    old = compose(model.routed.base, library.experts(), RoutingPolicy(top_k=2))
    asked(remembering, FIRST, old.way(FIRST))
    before = prefixes.size
    assert before

    del old
    gc.collect()
    asked(remembering, tuple(range(100, 120)), None)

    assert prefixes.size < before


@pytest.fixture(scope="module")
def usual(library: SmallLibrary) -> ComposedModel:
    """The library as one routes that says nothing else."""
    base = library.base()
    return compose(base, library.experts(), DEFAULT_POLICY, neutral=neutral_tokens(base, length=24))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[float]]:
    """What any prior says of each of the five experts, by the last token of a prompt; 0.5 of nobody."""
    scores: dict[int, list[float]] = {}

    def prior(_queries: QueryRouter, name: str, prompt: Sequence[int], *_: object) -> PromptScores:
        return PromptScores(name, torch.tensor(scores[prompt[-1]]), lambda: 0.5)

    monkeypatch.setattr(QueryRouter, "scores", prior)
    return scores


def two_turns(
    model: ComposedModel, routing: Routing, last: Sequence[int]
) -> tuple[Generation, list[int], list[int]]:
    """The second of two turns whose prompts end with these tokens, its answer, and what it is without reuse."""
    remembering = RoutedModel(model.routed.base, prefixes=Prefixes(megabytes=64))
    prompt = (*FIRST, last[0])
    _, said = asked(remembering, prompt, model.queries.route(routing, prompt))
    prompt = (*prompt, *said, last[1])
    way = model.queries.route(routing, prompt)
    second, answer = asked(remembering, prompt, way)
    return second, answer, asked(model.routed, prompt, way, key=None)[1]


NOBODYS, ADAS, BOBS = [0.0] * 5, [1.0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0]


@pytest.mark.parametrize(
    ("first", "second", "recalls"),
    [
        (NOBODYS, NOBODYS, True),
        (ADAS, ADAS, True),
        (NOBODYS, ADAS, False),
        (ADAS, NOBODYS, False),
        (ADAS, BOBS, False),
    ],
    ids=["nobody's", "one expert's", "nobody's, then one's", "one's, then nobody's", "of two experts"],
)
def test_by_the_usual_policy_turns_that_go_to_the_same_expert_or_to_nobody_recall_each_other(
    usual: ComposedModel,
    judged: dict[int, list[float]],
    first: list[float],
    second: list[float],
    *,
    recalls: bool,
) -> None:
    judged |= {300: first, 301: second}

    turn, answer, anew = two_turns(usual, usual.routing(), (300, 301))

    assert (turn.recalled_tokens > len(FIRST)) is recalls
    assert answer == anew
    assert set(spoken(turn)) == {name for name, score in zip(usual.experts, second, strict=True) if score}


def test_what_nobody_spoke_in_is_the_plain_bases_own_at_any_version(
    library: SmallLibrary, usual: ComposedModel, judged: dict[int, list[float]]
) -> None:
    judged[300] = NOBODYS
    prompt = (*FIRST, 300)
    other = compose(
        usual.routed.base, library.experts(), DEFAULT_POLICY, neutral=neutral_tokens(usual.routed.base)
    )
    remembering = RoutedModel(usual.routed.base, prefixes=Prefixes(megabytes=64))
    asked(remembering, prompt, other.way(prompt))

    turns = [asked(remembering, prompt, way) for way in (usual.way(prompt), None)]

    assert [turn.recalled_tokens for turn, _ in turns] == [len(FIRST)] * 2
    assert [answer for _, answer in turns] == [asked(usual.routed, prompt, None, key=None)[1]] * 2


@pytest.mark.parametrize(
    ("routing", "second", "recalls"),
    [
        (Routing("retrieval", 1), [2.0, 0, 0, 0, 1.0], True),  # all is the best one's
        (Routing("retrieval", 2), [1.0, 0.5, 0, 0, 0], True),
        (Routing("retrieval", 2), [1.0, 0.4, 0, 0, 0], False),
        (Routing("arrow", 2, prior_weight=0.5), [1.0, 0.5, 0, 0, 0], True),
        (Routing("arrow", 2, prior_weight=0.5), [1.0, 0.4, 0, 0, 0], False),
    ],
    ids=["alone", "equal weights", "other weights", "equal prior", "another prior"],
)
def test_where_prompts_weigh_experts_those_of_equal_weights_recall_each_other(
    usual: ComposedModel,
    judged: dict[int, list[float]],
    routing: Routing,
    second: list[float],
    *,
    recalls: bool,
) -> None:
    judged |= {300: [1.0, 0.5, 0, 0, 0], 301: second}

    turn, answer, anew = two_turns(usual, routing, (300, 301))

    assert (turn.recalled_tokens > len(FIRST)) is recalls
    assert answer == anew
