"""Which token is drawn from logits, and that nothing is drawn from what is not finite."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routing.errors import NotFinite
from routing.sampling import Sampling, draw

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
