"""Routers: who is chosen, with what weight, and who never is."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routing.pack import ModulePack, Moments, Update, pack_updates
from routing.routers import ROUTERS, Terms, best, settled, uniform, width

arrow = ROUTERS["arrow"]


def unit_vectors(experts: int, width: int = 8, seed: int = 0) -> ModulePack:
    rows = torch.randn(experts, width, generator=torch.Generator().manual_seed(seed))
    return of_prototypes(torch.nn.functional.normalize(rows, dim=-1))


def of_prototypes(rows: torch.Tensor) -> ModulePack:
    return pack_updates([{"layer": Update(row, row[None], torch.ones(1, 3))} for row in rows])["layer"]


def terms(
    top_k: int, *, allowed: list[int] | None = None, electorate: int = 9, temperature: float = 1.0
) -> Terms:
    return Terms(top_k, temperature, electorate, None if allowed is None else torch.tensor(allowed))


@given(experts=st.integers(1, 12), top_k=st.integers(1, 20), seed=st.integers(0, 99))
def test_arrow_mixes_the_k_largest_absolute_products_by_softmax(experts: int, top_k: int, seed: int) -> None:
    vectors = unit_vectors(experts, seed=seed)
    hidden = torch.randn(5, 8, generator=torch.Generator().manual_seed(seed))

    chosen = arrow(hidden, vectors, terms(top_k, temperature=0.5))

    scores = (hidden.double() @ vectors.vectors.prototypes.double().T).abs()
    expected, rows = scores.topk(min(top_k, experts))
    torch.testing.assert_close(chosen.weights.double(), (expected / 0.5).softmax(-1), atol=1e-5, rtol=1e-5)
    assert torch.equal(chosen.experts, rows)


def test_scores_are_float32_even_where_the_model_is_not() -> None:
    vectors = unit_vectors(2)
    hidden = torch.randn(400, 8).bfloat16()

    in_half = arrow(hidden, vectors, terms(2))

    assert in_half.weights.dtype == torch.float32
    torch.testing.assert_close(in_half.weights, arrow(hidden.float(), vectors, terms(2)).weights)


def test_a_score_that_is_not_finite_never_wins() -> None:
    scores = torch.tensor([[1.0, float("nan"), 2.0, float("inf"), 0.5]])

    chosen = best(scores, terms(2))

    assert chosen.experts.tolist() == [[2, 0]]
    assert torch.isfinite(chosen.weights).all()


def test_one_broken_prototype_leaves_all_others_as_they_were() -> None:
    vectors = unit_vectors(6)
    hidden = torch.randn(50, 8)
    broken = vectors.vectors.prototypes.clone()
    broken[3] = float("nan")

    chosen = arrow(hidden, of_prototypes(broken), terms(2))

    without = arrow(hidden, vectors, terms(2, allowed=[0, 1, 2, 4, 5]))
    assert torch.equal(chosen.experts, without.experts)
    assert torch.equal(chosen.weights, without.weights)


def test_a_token_without_any_finite_score_keeps_the_plain_base() -> None:
    chosen = best(torch.full((1, 3), float("nan")), terms(2))

    assert chosen.weights.tolist() == [[0.0, 0.0]]


NUMBERS = st.sampled_from([-2.0, -0.5, -0.0, 0.0, 1e-45, 0.5, 1.5, float("nan"), -float("inf"), float("inf")])


@given(
    row=st.lists(NUMBERS, min_size=1, max_size=9), top_k=st.integers(1, 4), tokens=st.sampled_from([1, 40])
)
def test_of_equal_scores_the_earlier_expert_wins_on_every_way(
    row: list[float], top_k: int, tokens: int
) -> None:
    """Compiled, by torch, with all experts named, and beside a prior of nothing."""
    scores, everyone = torch.tensor([row]).repeat(tokens, 1), list(range(len(row)))
    ways = [terms(top_k), terms(top_k, allowed=everyone), replace(terms(top_k), prior=torch.zeros(len(row)))]
    ranked = sorted((e for e in everyone if math.isfinite(row[e])), key=lambda expert: -row[expert])[:top_k]

    with torch.no_grad():
        found = [best(scores, way) for way in ways]
    found.append(best(scores, terms(top_k)))  # who may learn from it has torch

    for selection in found:
        assert selection.experts[:, : len(ranked)].tolist() == [ranked] * tokens
        assert (selection.weights[:, len(ranked) :] == 0).all()
        torch.testing.assert_close(selection.weights, found[0].weights)


def test_a_list_for_a_second_look_keeps_the_earlier_of_equal_experts() -> None:
    rows = torch.eye(12)[:1].repeat(12, 1)
    module = of_prototypes(rows)
    moments = Moments(torch.full((12,), 5.0), torch.ones(12))  # calibrated, all are equal and negative
    module = replace(module, moments={"arrow": moments, "subspace": moments})

    chosen = ROUTERS["two-stage"](torch.eye(12)[:1], module, terms(3))

    assert chosen.experts.tolist() == [[0, 1, 2]]


def test_scores_that_differ_in_their_last_bit_are_not_taken_for_equal() -> None:
    larger = torch.tensor(1.0)
    smaller = torch.nextafter(larger, torch.tensor(0.0))
    scores = torch.cat([smaller.repeat(4095), larger.unsqueeze(0)]).unsqueeze(0)

    assert best(scores, terms(1)).experts.item() == 4095


def test_only_allowed_experts_are_chosen() -> None:
    chosen = arrow(torch.randn(64, 8), unit_vectors(7), terms(3, allowed=[1, 5]))

    assert set(chosen.experts.flatten().tolist()) == {1, 5}


@pytest.mark.parametrize("router", sorted(ROUTERS))
@pytest.mark.parametrize("allowed", [None, [0, 3, 5], [2]])
@pytest.mark.parametrize("top_k", [1, 2, 50])
def test_how_wide_a_choice_is_can_be_told_before_it_is_made(
    router: str, allowed: list[int] | None, top_k: int
) -> None:
    measured = Moments(torch.zeros(6), torch.ones(6))
    module = replace(unit_vectors(6), moments=dict.fromkeys(("arrow", "gate", "subspace"), measured))
    asked = terms(top_k, allowed=allowed)

    for way in (asked, replace(asked, shares=torch.rand(6))):
        chosen = ROUTERS[router](torch.randn(3, 8), module, way)

        assert width(ROUTERS[router], module, way) == chosen.experts.shape[1]


def test_uniform_gives_each_allowed_expert_its_part_of_the_whole_index() -> None:
    chosen = uniform(torch.randn(4, 8), unit_vectors(3), terms(1, allowed=[0, 2], electorate=4))

    assert chosen.experts.tolist() == [[0, 2]] * 4
    assert chosen.weights.tolist() == [[0.25, 0.25]] * 4


@given(temperature=st.sampled_from([5e-324, 1e-300, 1e-40, 1e-6]))
def test_a_temperature_however_small_gives_the_best_expert_the_whole_weight(temperature: float) -> None:
    chosen = best(torch.tensor([[10.0, 30.0, 20.0]]), terms(2, temperature=temperature))

    assert chosen.experts.tolist() == [[1, 2]]
    assert chosen.weights.tolist() == [[1.0, 0.0]]


def test_uniform_weights_are_float32_while_another_base_is_loaded() -> None:
    """Loading a base sets torch's default dtype for the whole process."""
    torch.set_default_dtype(torch.bfloat16)
    try:
        chosen = uniform(torch.randn(2, 8), unit_vectors(3), terms(1, electorate=3))
    finally:
        torch.set_default_dtype(torch.float32)

    assert chosen.weights.dtype == torch.float32


@pytest.mark.parametrize("router", ["arrow", "spectral", "delta-norm", "uniform", "single", "retrieval"])
@pytest.mark.parametrize("shares", [False, True])
def test_whom_no_token_can_change_is_known_before_any_is_seen(router: str, shares: bool) -> None:  # noqa: FBT001 - as pytest hands it on
    vectors, alone = unit_vectors(3), terms(2, allowed=[1], electorate=2)
    asked = replace(alone, shares=torch.tensor([0.5, 0.2, 0.3])) if shares else alone
    hidden = torch.randn(4, 8)

    known = settled(ROUTERS[router], vectors, asked)

    assert known is not None
    chosen = ROUTERS[router](hidden, vectors, asked)
    assert torch.equal(known.experts.expand(4, -1), chosen.experts)
    assert torch.equal(known.weights.expand(4, -1), chosen.weights)


@pytest.mark.parametrize(
    ("router", "asked"),
    [
        ("arrow", terms(1)),
        ("arrow", terms(1, allowed=[0, 1])),
        ("arrow", replace(terms(1, allowed=[1]), abstain=0.5)),
        ("arrow", replace(terms(1, allowed=[1]), calibrated=True)),
        ("phatgoose", terms(1, allowed=[1])),  # it may have no gate
        ("evidence", terms(1, allowed=[1])),
    ],
)
def test_whom_a_token_can_change_is_not(router: str, asked: Terms) -> None:
    assert settled(ROUTERS[router], unit_vectors(3), asked) is None
