"""The choices of a request have their prompt in common: it is read once, and each is as it is alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch

from routing.composed import ComposedModel, compose
from routing.engine import Engine, Step
from routing.generation import Generation, Request
from routing.index import RoutingPolicy
from routing.prefixes import Prefixes
from routing.routed import RoutedModel
from routing.routes import Routing
from routing.sampling import Sampling
from routing.uses import Uses
from tests.routing.libraries import llama_library, t5_library
from tests.tiny import VOCABULARY

PROMPT = tuple(place * 3 % 300 + 2 for place in range(200))
DRAWN = Sampling(1.0, seed=5)
WAYS = [
    None,
    Routing("arrow", top_k=2),
    Routing("single", top_k=1, experts=("eve/late",)),
    Routing("retrieval", top_k=2, experts=("ada/plain", "eve/late")),
    Routing("arrow", top_k=2, prior="retrieval", prior_weight=2.0),
    Routing("arrow", top_k=1, prior="retrieval", shortlist=1),
]


@dataclass
class Answers:
    """Some answers of one request, and what an engine told of them."""

    works: list[Generation]
    told: list[list[Step]]
    read: list[int] = field(default_factory=list)

    @property
    def tokens(self) -> list[list[tuple[int, Any]]]:
        return [[(one.token, one.likelihood) for step in told for one in step.tokens] for told in self.told]

    @property
    def ids(self) -> list[list[int]]:
        return [[token for token, _ in tokens] for tokens in self.tokens]


def asked(model: RoutedModel, request: Request, choices: Sequence[int], **options: Any) -> Answers:
    """In one engine, run to their end."""
    answers = begun(model, request, choices)
    engine = Engine(told=lambda _, tokens: answers.read.append(tokens), **options)
    submit(engine, answers)
    while engine.step():
        pass
    return answers


def begun(model: RoutedModel, request: Request, choices: Sequence[int], **more: Any) -> Answers:
    works = [Generation(model, replace(request, choice=choice), **more) for choice in choices]
    return Answers(works, [[] for _ in works])


def submit(engine: Engine, answers: Answers) -> list[Any]:
    return engine.submit(
        [(work, told.append) for work, told in zip(answers.works, answers.told, strict=True)]
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ComposedModel:
    library = llama_library(tmp_path_factory.mktemp("adapters"))
    neutral = torch.randint(VOCABULARY, (4, 16), generator=torch.Generator().manual_seed(5))
    return compose(library.base(), library.experts(), RoutingPolicy(top_k=2), neutral=neutral)


@pytest.mark.parametrize("routing", WAYS)
@pytest.mark.parametrize("sampling", [Sampling(0.0), DRAWN], ids=["greedy", "drawn"])
def test_a_prompt_is_read_once_for_all_choices_and_each_is_as_it_is_alone(
    model: ComposedModel, routing: Routing | None, sampling: Sampling
) -> None:
    way = None if routing is None else model.queries.route(routing, PROMPT)
    request = Request(PROMPT, 4, way, sampling, voices=True)
    alone = [asked(model.routed, request, [choice]) for choice in range(3)]

    together = asked(model.routed, request, range(3))

    assert together.ids == [one.ids[0] for one in alone]
    written = sum(len(ids) for ids in together.ids)
    assert sum(together.read) <= len(PROMPT) + written
    assert [work.finish for work in together.works] == [one.works[0].finish for one in alone]
    for work, one in zip(together.works, alone, strict=True):
        if work.shares is not None and one.works[0].shares is not None:
            assert work.shares.by_expert() == pytest.approx(one.works[0].shares.by_expert())


@pytest.mark.parametrize("running", [1, 2, 3])
def test_those_who_wait_for_a_place_need_not_read_it_again(model: ComposedModel, running: int) -> None:
    request = Request(PROMPT, 4, sampling=DRAWN)

    together = asked(model.routed, request, range(6), running=running)

    assert together.ids == [asked(model.routed, request, [choice]).ids[0] for choice in range(6)]
    assert sum(together.read) <= len(PROMPT) + sum(len(ids) for ids in together.ids)


def test_an_echo_and_its_likelihoods_are_told_to_each(model: ComposedModel) -> None:
    request = Request(PROMPT[:20], 3, sampling=Sampling(0.0), echo=True, logprobs=1)

    first, second = asked(model.routed, request, range(2)).tokens

    assert first == second
    assert [token for token, _ in first[:20]] == list(PROMPT[:20])
    assert all(likelihood is not None for _, likelihood in first[1:20])


def test_who_reads_may_leave_and_another_reads_on(model: ComposedModel) -> None:
    request = Request((*PROMPT, *PROMPT[:100]), 3, sampling=DRAWN)
    expected = asked(model.routed, request, [1]).ids[0]
    engine, answers = Engine(), begun(model.routed, request, range(3))
    tickets = submit(engine, answers)

    engine.step()
    engine.cancel(tickets[0])
    while engine.step():
        pass

    assert answers.ids[0] == []
    assert answers.ids[1] == expected
    assert sum(work.passed_tokens for work in answers.works) < len(request.prompt) + 3 * 3


def test_one_that_fails_while_it_hears_the_prompt_fails_alone(
    model: ComposedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request(PROMPT, 3, sampling=DRAWN)
    engine, answers = Engine(), begun(model.routed, request, range(3))
    submit(engine, answers)
    for place, part in ((0, "hear"), (1, "overhear")):
        monkeypatch.setattr(answers.works[place], part, lambda *_: 1 / 0)
    while engine.step():
        pass

    assert [told[-1].error is None for told in answers.told] == [False, False, True]
    assert answers.ids[2] == asked(model.routed, request, [2]).ids[0]


def test_prompts_that_are_not_read_alike_are_read_apart(model: ComposedModel) -> None:
    engine = Engine()
    requests = [Request(PROMPT, 2, sampling=DRAWN), Request(PROMPT, 2, model.way(PROMPT), DRAWN)]
    works = [Generation(model.routed, request) for request in [*requests, Request(PROMPT[1:], 2)]]

    engine.submit([(work, lambda _step: None) for work in works])

    assert [work.common for work in works] == [None] * 3


def test_what_a_conversation_has_read_is_recalled_for_all_choices(model: ComposedModel) -> None:
    remembering = RoutedModel(model.routed.base, prefixes=Prefixes(megabytes=8))
    way = model.way(PROMPT)
    request = Request(PROMPT, 3, way, DRAWN, conversation="ours")
    expected = asked(model.routed, replace(request, conversation=None), range(3))
    asked(remembering, replace(request, prompt=PROMPT[:150]), [0])

    again = asked(remembering, request, range(3))

    assert [work.recalled_tokens for work in again.works] == [150] * 3
    assert again.ids == expected.ids
    assert sum(again.read) <= 50 + sum(len(ids) for ids in again.ids)
    for work, other in zip(again.works, expected.works, strict=True):
        assert work.shares is not None
        assert other.shares is not None
        assert work.shares.by_expert() == pytest.approx(other.shares.by_expert(), abs=1e-5)


def test_uses_are_counted_once_for_what_was_read_once(model: ComposedModel) -> None:
    way = model.way(PROMPT)
    assert way is not None
    uses = Uses(way.pack.experts, tuple(way.pack.modules))
    answers = begun(model.routed, Request(PROMPT, 3, way, DRAWN), range(3), uses=uses)
    engine = Engine()
    submit(engine, answers)
    while engine.step():
        pass

    counts = uses.taken()
    assert counts is not None
    assert answers.works[1].overheard_tokens == len(PROMPT)
    assert set(counts.tokens.tolist()) == {sum(work.passed_tokens for work in answers.works)}
    assert sum(work.passed_tokens for work in answers.works) < len(PROMPT) + 3 * 3


def test_memory_in_common_is_counted_once_and_given_back(model: ComposedModel) -> None:
    engine, name = Engine(running=2), model.routed.base.spec.name
    answers = begun(model.routed, Request((*PROMPT, *PROMPT), 3, sampling=DRAWN), range(3))
    submit(engine, answers)

    engine.step()

    assert engine.memory_bytes()[name] == answers.works[0].memory_bytes > 0
    while engine.step():
        pass
    assert all(work.memory_bytes == 0 for work in answers.works)


def test_bases_that_answer_in_turns_read_it_once_too(tmp_path: Any) -> None:
    composed = compose(t5_library(tmp_path).base(), {})
    request = Request((5, 9, 14, 3), 5, sampling=DRAWN)

    together = asked(composed.routed, request, range(3))

    assert not composed.routed.reads_together
    assert together.ids == [asked(composed.routed, request, [choice]).ids[0] for choice in range(3)]
    assert [work.overheard_tokens for work in together.works] == [0, 1, 1]


def test_a_pass_that_fails_there_ends_all_whose_memory_it_may_have_touched(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed = compose(t5_library(tmp_path).base(), {})
    monkeypatch.setattr(composed.routed, "last_logits", lambda *_args, **_more: 1 / 0)

    together = asked(composed.routed, Request((5, 9, 14, 3), 5, sampling=DRAWN), range(3))

    assert [type(told[-1].error) for told in together.told] == [ZeroDivisionError] * 3
    assert [len(told) for told in together.told] == [1, 1, 1]


def test_a_pass_that_fails_ends_the_one_that_reads_alone(
    model: ComposedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, failed = RoutedModel.run_pieces, list[None]()

    def once(routed: RoutedModel, *given: Any) -> torch.Tensor:
        if not failed:
            failed.append(None)
            raise ZeroDivisionError
        return whole(routed, *given)

    request = Request(PROMPT, 3, sampling=DRAWN)
    expected = asked(model.routed, request, [1]).ids[0]
    monkeypatch.setattr(RoutedModel, "run_pieces", once)

    together = asked(model.routed, request, range(3))

    assert [told[-1].error is None for told in together.told] == [False, True, True]
    assert together.ids[1] == expected
