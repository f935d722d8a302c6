"""Which token is drawn from logits, and that nothing is drawn from what is not finite."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import NotFinite
from routing.sampling import Sampling, _nucleus, _one_of, draw

GREEDY = Sampling(0.0)


@given(
    st.integers(1, 300),
    st.data(),
    st.sampled_from([float("nan"), float("inf"), -float("inf")]),
    st.sampled_from([GREEDY, Sampling(1.0, seed=1)]),
)
def test_nothing_is_drawn_where_a_logit_is_not_finite(
    count: int, data: st.DataObject, number: float, sampling: Sampling
) -> None:
    logits = torch.arange(float(count))
    logits[data.draw(st.integers(0, count - 1))] = number

    with pytest.raises(NotFinite):
        draw(logits, sampling, torch.Generator())


def test_the_largest_numbers_are_finite() -> None:
    largest = torch.finfo(torch.float32).max
    assert draw(torch.tensor([-largest, 0.0, largest, largest]), GREEDY, torch.Generator()) == 2


@given(st.lists(st.floats(-8, 8, width=16), min_size=1, max_size=200), st.data())
def test_without_temperature_the_first_of_the_likeliest_that_are_allowed_is_taken(
    numbers: list[float], data: st.DataObject
) -> None:
    places = data.draw(st.sets(st.integers(0, len(numbers) - 1), min_size=1))
    allowed = torch.zeros(len(numbers), dtype=torch.bool)
    allowed[sorted(places)] = True
    likeliest = max(numbers[place] for place in places)

    assert draw(torch.tensor(numbers), GREEDY, torch.Generator()) == numbers.index(max(numbers))
    token = draw(torch.tensor(numbers), GREEDY, torch.Generator(), allowed)
    assert token == min(place for place in places if numbers[place] == likeliest)


def sorted_whole(probabilities: torch.Tensor, top_p: float) -> set[int]:
    """The authority on which tokens are in the nucleus."""
    ordered, tokens = (probabilities / probabilities.sum()).sort(descending=True, stable=True)
    inside = int((ordered.cumsum(0) - ordered < top_p).sum())
    return set(tokens[: max(1, inside)].tolist())


@given(
    st.lists(st.sampled_from([0.0, 1e-12, 1e-6, 1e-3, 0.02, 0.3, 0.30001, 1.0]), min_size=1, max_size=400),
    st.sampled_from([1e-9, 0.1, 0.5, 0.9, 0.999999, 1 - 1e-12]),
)
def test_the_nucleus_is_that_of_all_tokens_in_their_order(numbers: list[float], top_p: float) -> None:
    probabilities = torch.tensor([*numbers, 0.5], dtype=torch.float64)

    kept = _nucleus(probabilities, top_p)

    assert set(kept.nonzero()[:, 0].tolist()) == sorted_whole(probabilities, top_p) - set(
        (probabilities == 0).nonzero()[:, 0].tolist()
    )
    torch.testing.assert_close(kept[kept > 0], (probabilities / probabilities.sum())[kept > 0])


def test_each_token_is_drawn_as_often_as_it_is_likely() -> None:
    likely = torch.tensor([0.0, 0.5, 0.2, 0.0, 0.3, 0.0])
    logits = (likely + 1e-30).log()
    chance = torch.Generator().manual_seed(3)

    drawn = torch.tensor([draw(logits, Sampling(1.0), chance) for _ in range(6000)])

    counts = torch.bincount(drawn, minlength=6)
    assert counts[likely == 0].sum() == 0
    torch.testing.assert_close(counts / 6000, likely, atol=0.03, rtol=0.0)  # five standard deviations


@given(st.integers(0, 2**40), st.integers(1, 50))
def test_equal_seeds_draw_equal_tokens_and_never_one_that_is_not_allowed(seed: int, count: int) -> None:
    allowed = torch.arange(count) % 3 == 0
    sampling = Sampling(1.5, seed=seed)

    drawn = [draw(torch.zeros(count), sampling, sampling.generator(2), allowed) for _ in range(2)]

    assert drawn[0] == drawn[1]
    assert bool(allowed[drawn[0]])


def test_the_last_of_what_chance_can_say_is_still_a_token() -> None:
    with patch("torch.rand", return_value=torch.tensor(1.0, dtype=torch.float64)):
        assert _one_of(torch.tensor([0.1, 0.2, 0.0], dtype=torch.float64), torch.Generator()) == 1
    with pytest.raises(ValueError, match="no token is allowed"):
        _one_of(torch.zeros(3, dtype=torch.float64), torch.Generator())


def test_no_seed_draws_for_one_choice_what_another_draws_for_another() -> None:
    drawn = {
        (seed, choice): Sampling(1.0, seed=seed).generator(choice).initial_seed()
        for seed in (-1, 0, 1, 2, 3, 11, 2**62)
        for choice in range(16)
    }

    assert len(set(drawn.values())) == len(drawn)
    assert drawn[3, 0] == 3  # one answer alone draws what it always drew
