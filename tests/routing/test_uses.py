"""Whom tokens chose is counted over all answers, and agrees with what each answer says of itself."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from routing.composed import ComposedModel, compose
from routing.engine import Engine
from routing.generation import Generation, Request
from routing.layers import EVERYTHING
from routing.routes import Routing, route
from routing.traces import ModuleTrace, Record
from routing.uses import Counts, Uses
from tests.routing.libraries import SmallLibrary, llama_library
from tests.routing.published import POLICY

PROMPT = tuple(range(5, 17))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("uses"))


@pytest.fixture(scope="module")
def composed(small: SmallLibrary) -> ComposedModel:
    return compose(small.base(), small.experts(), POLICY)


def answered(
    composed: ComposedModel, uses: Uses | None, *, count: int = 3, top_k: int = 2
) -> list[Generation]:
    """Answers of different lengths, read together."""
    way = route(composed.pack, Routing("arrow", top_k=top_k))
    generations = [
        Generation(composed.routed, Request(PROMPT[: 6 + 2 * number], 3 + number, route=way), uses=uses)
        for number in range(count)
    ]
    engine = Engine()
    engine.submit([(one, lambda _step: None) for one in generations])
    while engine.step():
        pass
    return generations


def by_expert(counts: Counts) -> dict[str, int]:
    return {name: int(count) for name, count in zip(counts.experts, counts.hits.sum(0), strict=True) if count}


def uses_of(composed: ComposedModel) -> Uses:
    return Uses(composed.pack.experts, tuple(composed.pack.modules))


def test_counts_are_the_sum_of_what_the_answers_say(composed: ComposedModel) -> None:
    uses = uses_of(composed)

    generations = answered(composed, uses)
    counts = uses.taken()

    said: Counter[str] = Counter()
    for one in generations:
        assert one.shares is not None
        said.update({name: spoken.hits for name, spoken in one.shares.spoken().items()})
    assert counts is not None
    assert by_expert(counts) == said
    assert counts.tokens.tolist() == [sum(one.passed_tokens for one in generations)] * len(counts.modules)
    assert bool((counts.hits.sum(1) <= 2 * counts.tokens).all())


def test_what_was_taken_is_not_counted_again(composed: ComposedModel) -> None:
    uses = uses_of(composed)
    answered(composed, uses)

    assert uses.taken() is not None
    assert uses.taken() is None


def test_who_joined_for_some_answers_is_not_counted(composed: ComposedModel) -> None:
    residents = composed.pack.experts[:1]
    uses = Uses(residents, tuple(composed.pack.modules))

    answered(composed, uses)
    counts = uses.taken()

    assert counts is not None
    assert set(by_expert(counts)) <= set(residents)


def test_a_pack_of_fewer_experts_counts_for_the_same_names(
    composed: ComposedModel, small: SmallLibrary
) -> None:
    uses, last = uses_of(composed), composed.pack.experts[-1]
    alone = compose(small.base(), {last: small.experts()[last]}, POLICY)

    answered(alone, uses, top_k=1)
    counts = uses.taken()

    assert counts is not None
    assert set(by_expert(counts)) == {last}
    assert torch.equal(counts.hits[:, -1].long(), counts.tokens)


def test_modules_that_see_different_numbers_of_tokens_are_counted_each_by_itself(
    composed: ComposedModel,
) -> None:
    first, second = list(composed.pack.modules)[:2]
    half = torch.tensor([0.5])
    record = Record(
        composed.pack,
        [
            (first, ModuleTrace(torch.tensor([[0, 1], [1, 2], [1, 0]]), half.expand(3, 2))),
            (second, ModuleTrace(torch.tensor([[2]]), half.expand(1, 1))),
            ("a module of somebody else's", ModuleTrace(torch.tensor([[0]]), half.expand(1, 1))),
        ],
    )
    uses = uses_of(composed)

    for _answer in range(2):
        uses.hear(record, EVERYTHING)
    counts = uses.taken()

    assert counts is not None
    assert counts.tokens[:2].tolist() == [3, 1]
    assert counts.hits[:2, :3].tolist() == [[2, 3, 1], [0, 0, 1]]
    assert int(counts.tokens.sum()) == 4


def test_a_record_that_answers_bring_in_turns_counts_once(composed: ComposedModel) -> None:
    uses, module = uses_of(composed), next(iter(composed.pack.modules))
    chosen = ModuleTrace(torch.zeros(4, 1, dtype=torch.int64), torch.ones(4, 1))
    records = [Record(composed.pack, [(module, chosen)]) for _ in range(2)]

    for record in [*records, *records]:
        uses.hear(record, slice(0, 2))

    counts = uses.taken()
    assert counts is not None
    assert by_expert(counts) == {composed.pack.experts[0]: 8}
