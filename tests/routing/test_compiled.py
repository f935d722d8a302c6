"""The compiled loops choose and mix as torch does, and where they are missing torch does it."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routing import compiled, mixing, routers
from routing.compiled import MOST_CHOSEN, kernels, usable
from routing.few_tokens import FEW, add_arrow
from routing.routers import ROUTERS, Selection, Terms, best
from routing.routes import Seat
from tests.routing.test_mixing import D_IN, D_OUT, module_pack, reference

SCORES = st.one_of(
    st.floats(-100, 100, width=32),
    st.sampled_from([0.0, 0.5, 0.5, 1.0, float("nan"), float("inf"), -float("inf")]),
)


@pytest.fixture(autouse=True)
def nobody_learns() -> Iterator[None]:
    with torch.no_grad():
        yield


def by_torch(scores: torch.Tensor, terms: Terms) -> Selection:
    with patch.object(routers, "kernels", lambda: None):
        return best(scores, terms)


def test_they_are_there() -> None:
    assert kernels() is not None


@given(
    rows=st.integers(1, 9).flatmap(
        lambda width: st.lists(st.lists(SCORES, min_size=width, max_size=width), min_size=1, max_size=6)
    ),
    top_k=st.integers(1, 10),
    temperature=st.floats(1e-3, 1e3),
    abstain=st.one_of(st.none(), st.floats(-5, 5)),
)
def test_the_same_experts_are_chosen_with_the_same_weights(
    rows: list[list[float]], top_k: int, temperature: float, abstain: float | None
) -> None:
    scores, terms = torch.tensor(rows), Terms(top_k, temperature, 9, abstain=abstain)

    with patch.object(routers, "kernels", wraps=kernels) as asked:
        chosen = best(scores, terms)

    assert asked.called
    expected = by_torch(scores, terms)
    torch.testing.assert_close(chosen.weights, expected.weights, atol=1e-6, rtol=1e-5)
    for token, row in enumerate(rows):
        finite = [expert for expert, score in enumerate(row) if math.isfinite(score)]
        ranked = sorted(finite, key=lambda expert: -scores[token, expert].item())[
            : len(chosen.experts[token])
        ]
        assert chosen.experts[token, : len(ranked)].tolist() == ranked


@given(
    ranks=st.lists(st.integers(0, 9), min_size=1, max_size=7),
    tokens=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_mixtures_equal_the_formula_whatever_the_ranks(ranks: list[int], tokens: int, seed: int) -> None:
    experts = module_pack(ranks, seed=seed)
    draw = torch.Generator().manual_seed(seed)
    k = 1 + seed % len(ranks)
    chosen = torch.stack([torch.randperm(len(ranks), generator=draw)[:k] for _ in range(tokens)])
    weights = torch.rand(tokens, k, generator=draw) * (torch.rand(tokens, k, generator=draw) > 0.3)
    hidden, before = torch.randn(tokens, D_IN, generator=draw), torch.randn(tokens, D_OUT, generator=draw)
    output = before.clone()

    mixing.add_compiled(kernels(), output, hidden, Selection(chosen, weights), experts)

    expected = reference(before, hidden, Selection(chosen, weights), experts)
    torch.testing.assert_close(output.double(), expected, atol=1e-4, rtol=1e-4)


@given(
    experts=st.integers(1, 40), tokens=st.integers(1, 20), top_k=st.integers(1, 4), seed=st.integers(0, 99)
)
def test_a_few_tokens_go_the_same_way_in_one_loop(experts: int, tokens: int, top_k: int, seed: int) -> None:
    module = module_pack([1 + (place + seed) % 5 for place in range(experts)], seed=seed)
    seat = Seat(module, Terms(top_k, 0.5, experts))
    draw = torch.Generator().manual_seed(seed)
    hidden, before = torch.randn(tokens, D_IN, generator=draw), torch.randn(tokens, D_OUT, generator=draw)
    output = before.clone()

    chosen = add_arrow(output, hidden, ROUTERS["arrow"], seat)

    if tokens > FEW:
        assert chosen is None
        assert torch.equal(output, before)
        return
    assert chosen is not None
    expected = seat.select(ROUTERS["arrow"], hidden)
    assert torch.equal(chosen.experts, expected.experts)
    torch.testing.assert_close(chosen.weights, expected.weights, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        output.double(), reference(before, hidden, expected, module), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize(
    "terms",
    [
        {"allowed": torch.tensor([0, 2])},
        {"calibrated": True},
        {"abstain": 0.5},
        {"prior": torch.zeros(3)},
    ],
    ids=lambda terms: next(iter(terms)),
)
def test_whoever_asks_for_more_goes_the_general_way(terms: dict[str, object]) -> None:
    module, row = module_pack([2, 3, 1]), torch.ones(1, D_IN)
    output = torch.zeros(1, D_OUT)

    assert add_arrow(output, row, ROUTERS["arrow"], Seat(module, Terms(2, 1.0, 3, **terms))) is None  # type: ignore[arg-type]
    assert add_arrow(output, row, ROUTERS["spectral"], Seat(module, Terms(2, 1.0, 3))) is None
    assert not output.any()


@pytest.mark.parametrize(("top_k", "given"), [(MOST_CHOSEN, True), (MOST_CHOSEN + 1, False)])
def test_loops_are_not_given_choices_that_they_would_sort_for_long(top_k: int, given: bool) -> None:  # noqa: FBT001 - as pytest hands it on
    module, hidden = module_pack([1] * (MOST_CHOSEN + 2)), torch.randn(2, D_IN)
    terms = Terms(top_k, 1.0, len(module))

    with patch.object(routers, "kernels", wraps=kernels) as asked:
        chosen = best(torch.randn(2, len(module)), terms)
    at_once = add_arrow(torch.zeros(2, D_OUT), hidden, ROUTERS["arrow"], Seat(module, terms))

    assert chosen.experts.shape[1] == top_k
    assert (asked.called, at_once is not None) == (given, given)


def test_what_is_not_finite_shows() -> None:
    experts = module_pack([4, 3])
    experts.a[1] = float("nan")
    output = torch.zeros(1, D_OUT)

    mixing.add_mixture(output, torch.ones(1, D_IN), Selection(torch.tensor([[0]]), torch.ones(1, 1)), experts)

    assert output.isnan().all()


def test_nobody_who_learns_is_given_to_them() -> None:
    row = torch.ones(2, 3)
    assert usable(row)
    assert not usable(row, row.double())
    assert not usable(row.T)
    with torch.enable_grad():
        assert not usable(row)


@pytest.mark.parametrize("trouble", ["missing", "wrong"])
def test_without_them_torch_does_it_and_the_log_says_so(
    trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mix = getattr(kernels(), "mix", None)

    def imported(name: str) -> object:
        if trouble == "missing":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return type("Wrong", (), {"choose": staticmethod(lambda *_: None), "mix": mix})

    monkeypatch.setattr(importlib, "import_module", imported)
    with caplog.at_level(logging.WARNING):
        assert compiled.kernels.__wrapped__() is None

    assert "experts are mixed by torch alone, which is slower" in caplog.text
