"""Merges equal the dense sums in float64, whatever the ranks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routing.adapter import LowRank
from routing.factors import Factors, canonical
from routing.merge import mean_expert, mean_update, retruncate

D_IN, D_OUT = 14, 11


def update(rank: int, seed: int) -> Factors:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, D_IN, generator=generator), torch.randn(D_OUT, rank, generator=generator)
    return canonical(LowRank(a, b, 0.5))


def dense(factors: Factors) -> torch.Tensor:
    return factors.b.double() @ factors.a.double()


@given(
    ranks=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    weights=st.lists(st.floats(-2, 2), min_size=5, max_size=5),
    seed=st.integers(0, 999),
)
def test_a_merge_is_the_weighted_sum_of_the_updates(
    ranks: list[int], weights: list[float], seed: int
) -> None:
    updates = [update(rank, seed + place) for place, rank in enumerate(ranks)]

    merged = mean_update(updates, weights[: len(updates)])

    expected = sum(weight * dense(one) for weight, one in zip(weights, updates, strict=False))
    torch.testing.assert_close(dense(merged), expected, atol=1e-4, rtol=1e-4)


def test_an_expert_that_leaves_a_module_alone_counts_there_as_zero() -> None:
    one, other = {"q": update(2, 0), "k": update(3, 1)}, {"q": update(4, 2)}

    mean = mean_expert([one, other], ["q", "k", "v"])

    assert list(mean) == ["q", "k"]
    torch.testing.assert_close(
        dense(mean["q"]), (dense(one["q"]) + dense(other["q"])) / 2, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(dense(mean["k"]), dense(one["k"]) / 2, atol=1e-5, rtol=1e-5)


def test_updates_that_cancel_leave_nothing() -> None:
    one = update(3, 5)

    assert mean_expert([{"q": one}, {"q": Factors(one.a, -one.b, one.sigma)}], ["q"]) == {}


@given(rank=st.integers(1, 9), kept=st.integers(1, 12), seed=st.integers(0, 999))
def test_retruncation_is_the_best_of_its_rank_and_says_what_it_loses(rank: int, kept: int, seed: int) -> None:
    whole = update(rank, seed)

    cut, lost = retruncate(whole, kept)

    singular = torch.linalg.svdvals(dense(whole))
    difference = torch.linalg.matrix_norm(dense(whole) - dense(cut)) ** 2
    assert float(difference) == pytest.approx(float(singular[kept:].square().sum()), abs=1e-3)
    assert lost == pytest.approx(float(difference / singular.square().sum()), abs=1e-5)
