"""Every way of adding the mixture gives the sum over the chosen experts, and only theirs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routing import mixing
from routing.pack import ModulePack, Update, pack_updates
from routing.routers import Selection

WAYS = [mixing.add_one_by_one, mixing.add_gathered, mixing.add_dense, mixing.add_grouped, mixing.add_mixture]
D_IN, D_OUT = 12, 9


def module_pack(ranks: list[int], *, seed: int = 0) -> ModulePack:
    generator = torch.Generator().manual_seed(seed)
    updates = [
        Update(
            torch.randn(D_IN, generator=generator),
            torch.randn(rank, D_IN, generator=generator),
            torch.randn(rank, D_OUT, generator=generator),
        )
        for rank in ranks
    ]
    return pack_updates([{"layer": update} for update in updates])["layer"]


def reference(
    output: torch.Tensor, hidden: torch.Tensor, selection: Selection, experts: ModulePack
) -> torch.Tensor:
    """The formula in float64, one token and one expert at a time."""
    total = output.double().clone()
    for token, (rows, weights) in enumerate(
        zip(selection.experts.tolist(), selection.weights.tolist(), strict=True)
    ):
        for row, weight in zip(rows, weights, strict=True):
            update = experts.update(row)
            total[token] += weight * (update.b.double().T @ (update.a.double() @ hidden[token].double()))
    return total


@pytest.mark.parametrize("way", WAYS)
@given(
    ranks=st.lists(st.integers(1, 6), min_size=1, max_size=7),
    tokens=st.integers(1, 30),
    seed=st.integers(0, 99),
)
def test_each_way_equals_the_formula(way: object, ranks: list[int], tokens: int, seed: int) -> None:
    experts = module_pack(ranks, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    k = 1 + seed % len(ranks)
    chosen = torch.stack([torch.randperm(len(ranks), generator=generator)[:k] for _ in range(tokens)])
    selection = Selection(chosen, torch.rand(tokens, k, generator=generator))
    hidden = torch.randn(tokens, D_IN, generator=generator)
    before = torch.randn(tokens, D_OUT, generator=generator)

    output = before.clone()
    way(output, hidden, selection, experts)  # type: ignore[operator]

    torch.testing.assert_close(
        output.double(), reference(before, hidden, selection, experts), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("way", WAYS)
def test_an_expert_that_fills_up_a_selection_keeps_what_it_has(way: Callable[..., None]) -> None:
    """Where fewer scores are finite than are wanted, expert 0 stands in the empty places, without weight."""
    experts = module_pack([2, 3])
    selection = Selection(torch.zeros(20, 2, dtype=torch.int64), torch.tensor([[1.0, 0.0]]).repeat(20, 1))
    hidden, before = torch.randn(20, D_IN), torch.zeros(20, D_OUT)

    output = before.clone()
    way(output, hidden, selection, experts)

    torch.testing.assert_close(
        output, reference(before, hidden, selection, experts).float(), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("tokens", [1, 40])
def test_experts_that_were_not_chosen_are_not_even_read(tokens: int) -> None:
    experts = module_pack([3] * 60)
    experts.a[3:] = float("nan")  # all but the first expert
    selection = Selection(torch.zeros(tokens, 1, dtype=torch.int64), torch.ones(tokens, 1))
    output = torch.zeros(tokens, D_OUT)

    mixing.add_mixture(output, torch.ones(tokens, D_IN), selection, experts)

    assert torch.isfinite(output).all()


def test_half_precision_weights_are_mixed_in_half_precision() -> None:
    experts = module_pack([2, 5, 1])
    half = ModulePack(
        experts.members, experts.vectors, experts.a.bfloat16(), experts.b.bfloat16(), experts.bounds
    )
    hidden = torch.randn(20, D_IN).bfloat16()
    selection = Selection(torch.tensor([[0, 2]] * 20), torch.full((20, 2), 0.5))
    expected = reference(torch.zeros(20, D_OUT), hidden, selection, half)

    for way in WAYS:
        output = torch.zeros(20, D_OUT, dtype=torch.bfloat16)
        way(output, hidden, selection, half)
        torch.testing.assert_close(output.double(), expected, atol=0.3, rtol=0.05)


def test_the_dense_way_is_the_same_while_another_base_is_loaded() -> None:
    """Loading a base sets torch's default dtype for the whole process."""
    experts = module_pack([2, 3], seed=0)
    selection = Selection(torch.tensor([[0, 1]]), torch.tensor([[0.25, 0.75]]))
    hidden = torch.randn(1, D_IN)
    quiet, busy = torch.zeros(1, D_OUT), torch.zeros(1, D_OUT)

    mixing.add_dense(quiet, hidden, selection, experts)
    torch.set_default_dtype(torch.bfloat16)
    try:
        mixing.add_dense(busy, hidden, selection, experts)
    finally:
        torch.set_default_dtype(torch.float32)

    assert torch.equal(quiet, busy)
