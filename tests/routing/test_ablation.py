"""A library without one of its experts, by an empty seat, beside an index that was made without it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from routing.ablation import Ablation
from routing.absence import Readings, without
from routing.base import Base
from routing.classifier import Classifier, train_classifier
from routing.composed import ComposedModel, compose
from routing.encoding import BaseEncoder
from routing.errors import UnknownExpert
from routing.factors import Factors
from routing.index import DEFAULT_POLICY, RoutingPolicy
from routing.neutral import neutral_tokens
from routing.paired import Outcomes, exact_gain, log_likelihood_gain
from routing.profiles import Profile
from routing.retrieval import profile_of
from routing.routes import within_reach
from routing.rows import Row
from tests.routing.libraries import SmallLibrary, llama_library, t5_library

PROMPTS = {
    "ada/plain": ["The ferry leaves.", "She counted 12 boats.", "boats", "12", "nine boats", "ferry"],
    "bob/wide": ["Bread, cheese", "apples and bread", "cheese", "two apples", "bread", "the table"],
    "cy/attention": ["gulls", "345 gulls", "waves", "nobody asked", "why", "6789 waves"],
}
TEXTS = [
    ("The ferry leaves at", " nine and crosses"),
    ("Bread, cheese and", " two apples"),
    ("She counted 12", " boats"),
    ("When it rains, the path by the", " mill is closed."),
    ("345 gulls and", " waves; nobody"),
    ("cheese", " apples"),
    ("the mill", " is"),
    ("nobody asked", " why."),
]
POLICIES = {
    "arrow": RoutingPolicy(top_k=2),
    "calibrated": RoutingPolicy("spectral", top_k=2, calibrated=True, abstain=0.2),
    "phatgoose": RoutingPolicy("phatgoose", top_k=2),
    "two-stage": RoutingPolicy("two-stage", top_k=2),
    "uniform": RoutingPolicy("uniform"),
    "auto": DEFAULT_POLICY,
    "retrieval-abstains": RoutingPolicy(top_k=2, shortlist=2, prior="retrieval", prior_abstain=True),
    "weighed": RoutingPolicy(top_k=2, prior="evidence", prior_weight=0.5),
    "lm": RoutingPolicy("lm", top_k=2, prior_abstain=True),
    "classifier": RoutingPolicy("classifier", top_k=2),
    "classifier-abstains": RoutingPolicy(top_k=2, shortlist=1, prior="classifier", prior_abstain=True),
    "less-general": RoutingPolicy(top_k=2, general=("di/patterned", "eve/late"), subtract=0.5),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("adapters"))


@pytest.fixture(scope="module")
def base(library: SmallLibrary) -> Base:
    return library.base()


@pytest.fixture(scope="module")
def experts(library: SmallLibrary) -> dict[str, dict[str, Factors]]:
    return library.experts()


@pytest.fixture(scope="module")
def neutral(base: Base) -> Tensor:
    return neutral_tokens(base, sequences=8, length=12)


@pytest.fixture(scope="module")
def profiles(base: Base) -> dict[str, Profile]:
    encoder = BaseEncoder(base)
    return {name: profile_of(base, encoder, adapter=name, prompts=rows) for name, rows in PROMPTS.items()}


@pytest.fixture(scope="module")
def rows(base: Base) -> list[Row]:
    def tokens(text: str) -> tuple[int, ...]:
        return tuple(base.tokenizer(text, add_special_tokens=False)["input_ids"])

    return [(tokens(prompt), tokens(completion)) for prompt, completion in TEXTS]


class Maker:
    """Makes an index of some of the experts as a worker would: measured, and with a classifier of its own."""

    def __init__(
        self,
        base: Base,
        experts: Mapping[str, Mapping[str, Factors]],
        profiles: Mapping[str, Profile],
        neutral: Tensor,
    ) -> None:
        self.base, self.experts, self.profiles, self.neutral = base, experts, profiles, neutral
        draw = torch.Generator().manual_seed(5)
        self.gates = {
            name: {module: torch.randn(one.a.shape[1], generator=draw) for module, one in modules.items()}
            for name, modules in experts.items()
            if name != "di/patterned"
        }
        self.texts = BaseEncoder(base).encode(neutral.tolist())

    def model(self, policy: RoutingPolicy, names: Iterable[str]) -> ComposedModel:
        made = self.made(frozenset(names))
        return replace(made, policy=within_reach(policy, made.pack))

    @cache  # noqa: B019 - it lives as long as its module's tests
    def made(self, names: frozenset[str]) -> ComposedModel:
        """Whatever the policy is, it is measured once."""

        def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
            return {name: one for name, one in given.items() if name in names}

        made = compose(
            self.base,
            chosen(self.experts),
            gates=chosen(self.gates),
            neutral=self.neutral,
            profiles=chosen(self.profiles),
        )
        return replace(made, pack=replace(made.pack, classifier=self.classifier(names)))

    def classifier(self, names: frozenset[str]) -> Classifier | None:
        known = {name: one for name, one in self.profiles.items() if name in names}
        if len(known) < 2:
            return None
        return train_classifier(known, self.texts, encoder=BaseEncoder(self.base).name)[0]


@pytest.fixture(scope="module")
def maker(
    base: Base,
    experts: dict[str, dict[str, Factors]],
    profiles: dict[str, Profile],
    neutral: Tensor,
) -> Maker:
    return Maker(base, experts, profiles, neutral)


def log_probabilities(model: ComposedModel, rows: Sequence[Row]) -> list[float]:
    """By the composed model's own way from a prompt to logits, row by row."""
    found = []
    for prompt, completion in rows:
        logits = model.completion_logits(prompt, completion).log_softmax(-1)
        found.append(float(logits.gather(1, torch.tensor(completion)[:, None]).sum()))
    return found


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_an_empty_seat_is_an_index_made_without_the_expert(
    maker: Maker, rows: list[Row], policy: RoutingPolicy
) -> None:
    everybody = set(maker.experts)
    model = maker.model(policy, everybody)
    work = Ablation(model, rows, lambda _tokens: None)
    whole, readings = work.whole(), work.readings()

    np.testing.assert_allclose(whole.outcomes.log_probability, log_probabilities(model, rows), atol=2e-4)
    for name in ("ada/plain", "di/patterned"):
        found = work.without(name, whole, readings)

        others = maker.model(policy, everybody - {name})
        np.testing.assert_allclose(found.log_probability, log_probabilities(others, rows), atol=2e-4)


def test_with_two_introduced_experts_nothing_classifies_once_one_is_gone(maker: Maker) -> None:
    """So the library would route by retrieval, as every index version without a classifier does."""
    names = {"ada/plain", "bob/wide", "eve/late"}
    model = maker.model(POLICIES["classifier"], names)

    left = without(model, "ada/plain", Readings(model.queries.known))

    assert left.routing.router == "retrieval"


def test_without_its_only_expert_a_library_is_the_base(maker: Maker, rows: list[Row]) -> None:
    for policy in (POLICIES["arrow"], POLICIES["auto"], POLICIES["uniform"]):
        model = maker.model(policy, {"bob/wide"})
        work = Ablation(model, rows, lambda _tokens: None)

        found = work.without("bob/wide", work.whole(), work.readings())

        np.testing.assert_allclose(found.log_probability, work.base().log_probability, atol=1e-4)


def test_rows_whose_route_stays_are_not_read_again(maker: Maker, rows: list[Row]) -> None:
    spent: list[int] = []
    model = maker.model(DEFAULT_POLICY, set(maker.experts))
    work = Ablation(model, rows, spent.append)
    whole = work.whole()
    assert sum(spent) == work.tokens + sum(len(prompt) for prompt, _ in rows)
    readings = work.readings()
    quiet = [name for place, name in enumerate(model.experts) if not whole.chosen[:, place].any()]
    heard = [name for place, name in enumerate(model.experts) if whole.heard[:, place].any()]
    assert quiet
    assert heard
    work.without(quiet[0], whole, readings)  # for which the prompts are read once more
    spent.clear()

    found = work.without(heard[0], whole, readings)

    touched = whole.chosen[:, model.pack.places[heard[0]]].numpy()
    assert 0 < sum(spent) < work.tokens
    changed = found.log_probability != whole.outcomes.log_probability
    assert changed.any()
    assert not changed[~touched].any()


def test_an_encoder_decoder_is_measured_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    library = t5_library(tmp_path_factory.mktemp("t5"))
    experts, base = library.experts(), library.base()
    text = [((5, 6, 7, 8), (9, 10)), ((11, 12), (13, 14, 15)), ((16,), (17,))]
    model = compose(base, experts, RoutingPolicy(top_k=2))
    work = Ablation(model, text, lambda _tokens: None)

    found = work.without("ada/plain", work.whole(), work.readings())

    others = compose(
        base, {name: one for name, one in experts.items() if name != "ada/plain"}, RoutingPolicy(top_k=2)
    )
    np.testing.assert_allclose(found.log_probability, log_probabilities(others, text), atol=2e-4)


def test_who_is_no_member_cannot_be_left_out(maker: Maker) -> None:
    model = maker.model(DEFAULT_POLICY, {"bob/wide"})

    with pytest.raises(UnknownExpert, match="di/patterned"):
        without(model, "di/patterned", Readings(model.queries.known))


def outcomes(log_probability: list[float], tokens: list[float], exact: list[float]) -> Outcomes:
    return Outcomes(np.array(log_probability), np.array(tokens), np.array(exact))


def test_a_gain_is_in_nats_per_token_and_its_interval_is_paired() -> None:
    """Rows that differ wildly from each other, and by a tenth of a nat per token between the two ways."""
    draw = np.random.default_rng(3)
    tokens = draw.integers(1, 9, 200).astype(float)
    hard = -draw.exponential(20.0, 200)
    one = Outcomes(hard, tokens, np.ones(200))
    other = Outcomes(hard - 0.1 * tokens, tokens, np.zeros(200))

    found = log_likelihood_gain(one, other)

    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1)
    assert found.high == pytest.approx(0.1)
    assert exact_gain(one, other).value == 1.0


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(4)
    covered = 0
    for _ in range(300):
        gains = draw.normal(0.3, 1.0, 60)
        found = log_likelihood_gain(
            outcomes(gains.tolist(), [1.0] * 60, [0.0] * 60),
            outcomes([0.0] * 60, [1.0] * 60, [0.0] * 60),
        )
        covered += found.low <= 0.3 <= found.high
    assert 0.90 < covered / 300 < 0.98


def test_who_changes_nothing_contributes_exactly_nothing() -> None:
    same = outcomes([-1.0, -2.0], [1.0, 2.0], [1.0, 0.0])

    found = log_likelihood_gain(same, same)

    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
