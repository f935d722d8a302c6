"""The composed model in lm-evaluation-harness, against the harness's own model of the base and of peft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM
from peft import PeftModel

from evaluation.model import ComposedLM
from routing.composed import ComposedModel, compose
from routing.index import RoutingPolicy
from routing.routes import Routing, routing_of
from tests.evaluation.asking import (
    CONTEXTS,
    evaluated,
    generation_requests,
    likelihood_requests,
    rolling_requests,
)
from tests.routing.libraries import SmallLibrary, gpt2_library, llama_library, t5_library
from tests.tiny import tiny_model

ALONE = "ada/plain"
NARROW = RoutingPolicy(top_k=2, shortlist=1)


@pytest.fixture(scope="module", params=[llama_library, gpt2_library], ids=["llama", "gpt2"])
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return request.param(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ComposedModel:
    library = llama_library(tmp_path_factory.mktemp("adapters"))
    return compose(library.base(), library.experts(), NARROW)


def theirs(library: SmallLibrary, *, adapter: str | None = None) -> HFLM:
    peft = None if adapter is None else str(library.adapters[adapter])
    return HFLM(pretrained=str(library.folder), peft=peft, device="cpu", dtype="float32", batch_size=3)


def assert_answers_alike(ours: ComposedLM, authority: HFLM) -> None:
    pairs = zip(
        ours.loglikelihood(likelihood_requests()), authority.loglikelihood(likelihood_requests()), strict=True
    )
    for (mine, greedy), (other, other_greedy) in pairs:
        assert mine == pytest.approx(other, rel=1e-5, abs=1e-5)
        assert greedy == other_greedy
    rolling = authority.loglikelihood_rolling(rolling_requests())
    assert ours.loglikelihood_rolling(rolling_requests()) == pytest.approx(rolling, rel=1e-5)
    assert ours.generate_until(generation_requests()) == authority.generate_until(generation_requests())


def test_the_plain_base_answers_as_the_harness_s_own_model(library: SmallLibrary) -> None:
    model = compose(library.base(), library.experts(), NARROW)

    assert_answers_alike(ComposedLM(model, None, batch_size=2), theirs(library))


def test_a_library_of_one_answers_as_the_harness_s_own_model_with_peft(library: SmallLibrary) -> None:
    one = compose(library.base(), {ALONE: library.experts()[ALONE]}, RoutingPolicy(top_k=1))

    ours = ComposedLM(one, routing_of(one.policy), batch_size=2)

    assert_answers_alike(ours, theirs(library, adapter=ALONE))


def test_an_expert_alone_scores_on_a_task_as_peft_does(library: SmallLibrary) -> None:
    model = compose(library.base(), library.experts(), NARROW)
    alone = Routing("single", top_k=1, experts=(ALONE,))

    ours = evaluated(ComposedLM(model, alone))
    peft = evaluated(theirs(library, adapter=ALONE))

    assert ours["results"] == peft["results"]
    for mine, other in zip(ours["samples"]["ferry"], peft["samples"]["ferry"], strict=True):
        for (said, _), (other_said, _) in zip(mine["filtered_resps"], other["filtered_resps"], strict=True):
            assert said == pytest.approx(other_said, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("shortlist", [0, 1])
def test_what_shares_a_batch_changes_nothing(model: ComposedModel, shortlist: int) -> None:
    routing = replace(routing_of(model.policy), shortlist=shortlist)
    alone, together = (ComposedLM(model, routing, batch_size=size) for size in (1, 8))

    for requests in (likelihood_requests(), likelihood_requests()[::-1]):
        single, batched = alone.loglikelihood(requests), together.loglikelihood(requests)
        assert [one for one, _ in batched] == pytest.approx([one for one, _ in single], rel=1e-5, abs=1e-5)
    assert together.generate_until(generation_requests()) == alone.generate_until(generation_requests())


def test_generation_is_that_of_the_composed_model(model: ComposedModel) -> None:
    ours = ComposedLM(model, routing_of(model.policy), batch_size=3).generate_until(generation_requests())

    for context, said in zip(CONTEXTS, ours, strict=True):
        assert said == model.generate(context, max_tokens=6, stop=["\n"]).text


def test_the_prompt_alone_chooses_its_short_list(model: ComposedModel) -> None:
    context, endings = "The ferry leaves at", [" nine", " 345 gulls and 6789 waves; nobody asked why"]
    lm = ComposedLM(model, routing_of(model.policy), batch_size=2)

    said = lm.loglikelihood(likelihood_requests([(context, ending) for ending in endings]))

    way = model.way(context)
    for ending, (mine, _) in zip(endings, said, strict=True):
        ids = model.tokens(context + ending)
        begun = len(model.tokens(context))
        logprobs = model.routed.logits(_batch(ids), route=way)[0].log_softmax(-1)
        expected = sum(float(logprobs[place - 1, ids[place]]) for place in range(begun, len(ids)))
        assert mine == pytest.approx(expected, rel=1e-5)


def test_what_the_harness_remembers_it_does_not_ask_again(
    model: ComposedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = ComposedLM(model, routing_of(model.policy))
    asked: list[list[Instance]] = []
    monkeypatch.setattr(lm, "loglikelihood", _counted(asked, lm.loglikelihood))

    first, again = (evaluated(CachingLM(lm, str(tmp_path / "answers.db")))["results"] for _ in range(2))

    assert first == again
    assert len(asked) == 1


def test_an_encoder_decoder_answers_as_peft_does_and_no_longer_than_it_may(tmp_path: Path) -> None:
    library = t5_library(tmp_path)
    one = compose(library.base(), {ALONE: library.experts()[ALONE]}, RoutingPolicy(top_k=1))
    alone, together = (ComposedLM(one, routing_of(one.policy), batch_size=size) for size in (1, 8))
    authority = theirs(library, adapter=ALONE)
    peft = PeftModel.from_pretrained(tiny_model(library.folder), library.adapters[ALONE]).eval()

    said = alone.generate_until(generation_requests())
    scored = [
        [likelihood for likelihood, _ in lm.loglikelihood(likelihood_requests())] for lm in (alone, authority)
    ]

    assert scored[0] == pytest.approx(scored[1], rel=1e-5)
    assert together.generate_until(generation_requests()) == said
    for context, text in zip(CONTEXTS, said, strict=True):
        ids = peft.generate(input_ids=_batch(one.tokens(context)), max_new_tokens=6, do_sample=False)[0]
        assert text == one.routed.base.tokenizer.decode(ids, skip_special_tokens=True).split("\n")[0]
        assert text == one.generate(context, max_tokens=6, stop=["\n"]).text


def _batch(ids: tuple[int, ...]) -> torch.Tensor:
    return torch.tensor([ids])


def _counted(asked: list[list[Instance]], answer: Callable[..., object]) -> Callable[..., object]:
    def counting(requests: list[Instance]) -> object:
        asked.append(requests)
        return answer(requests)

    return counting
