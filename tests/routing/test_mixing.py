"""Every way of adding the mixture gives the sum over the chosen experts, and only theirs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routing import mixing
from routing.compiled import kernels
from routing.pack import ModulePack, Update, pack_updates
from routing.routers import Selection

D_IN, D_OUT = 12, 9


def add_compiled(
    output: torch.Tensor, hidden: torch.Tensor, selection: Selection, experts: ModulePack
) -> None:
    if output.dtype != torch.float32:  # there is no loop for it
        mixing.add_mixture(output, hidden, selection, experts)
        return
    mixing.add_compiled(kernels(), output, hidden, selection, experts)


WAYS = [
    mixing.add_one_by_one,
    mixing.add_gathered,
    mixing.add_dense,
    mixing.add_grouped,
    add_compiled,
    mixing.add_mixture,
]
RANKS = st.lists(st.integers(0, 6), min_size=1, max_size=7).filter(any)


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
    ranks=RANKS,
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
@given(
    ranks=RANKS, tokens=st.integers(1, 30), seed=st.integers(0, 99), large=st.sampled_from([3e38, math.inf])
)
def test_whoever_has_no_weight_has_no_part_whatever_it_makes_of_a_token(
    way: Callable[..., None], ranks: list[int], tokens: int, seed: int, large: float
) -> None:
    """Beside it, before it and behind it: experts whose products are infinite, and who are not heard."""
    experts = module_pack([2, *ranks, 3], seed=seed)
    sound = module_pack([2, *ranks, 3], seed=seed)
    for loud in (slice(0, 2), slice(len(experts.a) - 3, None)):
        experts.a[loud] = large
    generator = torch.Generator().manual_seed(seed)
    heard = torch.randint(1, 1 + len(ranks), (tokens, 1), generator=generator)
    chosen = torch.cat([torch.zeros_like(heard), heard, torch.full_like(heard, 1 + len(ranks))], dim=1)
    selection = Selection(chosen, torch.tensor([[0.0, 0.75, 0.0]]).repeat(tokens, 1))
    hidden = torch.rand(tokens, D_IN, generator=generator) + 1
    before = torch.randn(tokens, D_OUT, generator=generator)

    output = before.clone()
    way(output, hidden, selection, experts)

    torch.testing.assert_close(
        output.double(), reference(before, hidden, selection, sound), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_finite_shows_where_it_is_heard(way: Callable[..., None]) -> None:
    experts = module_pack([2, 3, 1])
    experts.a[:2] = math.inf
    selection = Selection(torch.tensor([[0, 1], [2, 1]]), torch.full((2, 2), 0.5))

    output = torch.zeros(2, D_OUT)
    way(output, torch.ones(2, D_IN), selection, experts)

    assert output.isfinite().all(1).tolist() == [False, True]


@pytest.mark.parametrize("tokens", [1, 40])
def test_experts_without_rows_add_nothing(tokens: int) -> None:
    output = torch.ones(tokens, D_OUT)
    selection = Selection(torch.tensor([[1, 0]]).repeat(tokens, 1), torch.full((tokens, 2), 0.5))

    mixing.add_mixture(output, torch.ones(tokens, D_IN), selection, module_pack([0, 0]))

    assert (output == 1).all()


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
        experts.members, experts.vectors, experts.a.bfloat16(), experts.b.bfloat16(), experts.spans
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
