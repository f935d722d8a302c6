"""Penalties and biases bend what is drawn, of one answer alone, and never what the model says of likelihoods."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TopKLogitsWarper

from routing.composed import ComposedModel, compose
from routing.generation import Request
from routing.penalties import Bent, Penalties
from routing.sampling import Sampling, draw
from tests.routing.libraries import TEXT, llama_library
from tests.routing.test_together import run_together

VOCABULARY = 40
tokens = st.lists(st.integers(0, VOCABULARY - 1), max_size=20)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ComposedModel:
    library = llama_library(tmp_path_factory.mktemp("adapters"))
    return compose(library.base(), {})


def some_logits(seed: int) -> torch.Tensor:
    return 5 * torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed))


@given(prompt=tokens, said=tokens, presence=st.floats(-2, 2), frequency=st.floats(-2, 2), seed=st.integers(0))
def test_presence_counts_once_and_frequency_every_time_in_the_answer_alone(
    prompt: list[int], said: list[int], presence: float, frequency: float, seed: int
) -> None:
    logits, counts = some_logits(seed % 1000), Counter(said)
    bent = Bent(Penalties(presence=presence, frequency=frequency), prompt, logits)
    for token in said:
        bent.hear(token)

    expected = [
        float(logit) - counts[token] * frequency - (counts[token] > 0) * presence
        for token, logit in enumerate(logits)
    ]
    assert bent.of(logits).tolist() == pytest.approx(expected, abs=1e-4)


@given(prompt=tokens, said=tokens, repetition=st.floats(0.1, 10), seed=st.integers(0, 1000))
def test_repetition_is_that_of_transformers(
    prompt: list[int], said: list[int], repetition: float, seed: int
) -> None:
    logits = some_logits(seed)
    bent = Bent(Penalties(repetition=repetition), prompt, logits)
    for token in said:
        bent.hear(token)

    theirs = RepetitionPenaltyLogitsProcessor(repetition)
    seen = torch.tensor([[*prompt, *said]], dtype=torch.int64)
    torch.testing.assert_close(bent.of(logits), theirs(seen, logits[None].clone())[0])


@given(seed=st.integers(0, 1000), top_k=st.integers(1, 50), min_p=st.floats(0.01, 1))
def test_what_is_too_unlikely_is_what_transformers_rules_out(seed: int, top_k: int, min_p: float) -> None:
    logits, chance = some_logits(seed), torch.Generator().manual_seed(seed)
    nobody: Any = torch.zeros(1, 0, dtype=torch.int64)
    few = TopKLogitsWarper(top_k)(nobody, logits[None])[0].isfinite()
    likely = MinPLogitsWarper(min_p)(nobody, logits[None])[0].isfinite()

    assert few[draw(logits, Sampling(top_k=top_k), chance)]
    assert likely[draw(logits, Sampling(min_p=min_p), chance)]
    assert (few & likely)[draw(logits, Sampling(top_k=top_k, min_p=min_p, top_p=0.9), chance)]


def test_what_is_left_of_a_guide_is_drawn_however_it_is_biased() -> None:
    logits = some_logits(1)
    allowed = torch.zeros(VOCABULARY, dtype=torch.bool)
    allowed[[3, 7]] = True
    bent = Bent(Penalties(bias={3: -100.0, 7: -90.0, 5: 100.0}), (), logits).of(logits)

    drawn = {draw(bent, Sampling(heat), torch.Generator().manual_seed(1), allowed) for heat in (0.0, 1.0)}

    assert drawn == {7}


def test_one_answers_penalties_are_not_heard_in_the_others_of_its_pass(model: ComposedModel) -> None:
    prompt = model.tokens(TEXT)
    free = Request(prompt, 12, sampling=Sampling(0.0), logprobs=2)
    never = next(iter(run_together(model.routed, [free])[1][0].tokens))
    bent = [
        Penalties(bias={never: -100.0}),
        Penalties(frequency=-2.0, presence=-2.0),
        Penalties(repetition=9.0),
    ]
    requests = [free, *(Request(prompt, 12, sampling=Sampling(0.0, penalties=one)) for one in bent)]

    _, together = run_together(model.routed, requests)
    alone = [run_together(model.routed, [one])[1][0] for one in requests]

    assert [one.tokens for one in together] == [one.tokens for one in alone]
    assert len({tuple(one.tokens) for one in together}) == len(requests)
    assert never not in together[1].tokens


def test_likelihoods_are_those_of_the_model_whatever_is_drawn(model: ComposedModel) -> None:
    prompt = model.tokens(TEXT)

    def first(penalties: Penalties) -> object:
        request = Request(prompt, 1, sampling=Sampling(0.0, penalties=penalties), logprobs=5)
        (token,) = [
            token for step in run_together(model.routed, [request])[1][0].steps for token in step.tokens
        ]
        assert token.likelihood is not None
        return token.likelihood.alternatives

    assert first(Penalties(bias={9: 100.0})) == first(Penalties())
