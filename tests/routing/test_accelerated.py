"""The kernels of a GPU, in Triton's interpreter: they choose and mix as torch does, and are used where they may be."""

from __future__ import annotations

import importlib
import logging
import math
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st

from routing import accelerated, mixing, routers, triton_calls, triton_choosing, triton_mixing
from routing.few_tokens import add_arrow
from routing.pack import ModulePack, Update, pack_updates
from routing.routers import ROUTERS, Selection, Terms, best
from routing.routes import Seat
from tests.routing.test_mixing import reference

FEW = 3  # tokens: so that a handful is sorted by expert
DTYPES = {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}  # the interpreter cuts bfloat16 off
CPU = torch.device("cpu")
SCORES = st.one_of(
    st.floats(-100, 100, width=32),
    st.sampled_from([-0.5, -0.5, 0.0, 0.5, 0.5, 1.0, float("nan"), float("inf"), -float("inf")]),
)
DRAWN = settings(max_examples=12)  # the interpreter takes its time


@pytest.fixture(autouse=True, scope="module")
def small_tiles() -> Iterator[None]:
    """Small numbers go through every loop of the kernels, and nobody learns."""
    with (
        torch.no_grad(),
        np.errstate(all="ignore"),
        patch.object(triton_calls, "FEW", FEW),
        patch.object(triton_calls, "CHUNK", 64),
        patch.multiple(triton_choosing, CHUNK=tl.constexpr(64), COLUMNS=tl.constexpr(32)),
        patch.multiple(triton_mixing, CHUNK=tl.constexpr(64), COLUMNS=tl.constexpr(32)),
        patch.object(triton_choosing, "EXPERTS_READ", tl.constexpr(16)),
    ):
        yield


def module_of(
    ranks: list[int], d_in: int, d_out: int, *, seed: int = 0, dtype: torch.dtype = torch.float32
) -> ModulePack:
    draw = torch.Generator().manual_seed(seed)
    return pack_updates(
        [
            {
                "layer": Update(
                    torch.randn(d_in, generator=draw),
                    torch.randn(rank, d_in, generator=draw).to(dtype),
                    torch.randn(rank, d_out, generator=draw).to(dtype),
                )
            }
            for rank in ranks
        ]
    )["layer"]


def by_torch(scores: torch.Tensor, terms: Terms) -> Selection:
    with patch.object(routers, "kernels", lambda: None):
        return best(scores, terms)


def close(found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype) -> None:
    """Within the tolerance of the dtype, of the largest number there is."""
    off = (found.double() - wanted).abs().max()
    assert off <= DTYPES[dtype] * wanted.abs().max(), float(off)


@DRAWN
@given(
    ranks=st.lists(st.sampled_from([0, 1, 4, 15, 16, 17, 33, 64]), min_size=1, max_size=24),
    tokens=st.integers(1, 6),
    top_k=st.integers(1, 4),
    d_in=st.integers(1, 140),
    d_out=st.integers(1, 130),
    dtype=st.sampled_from(list(DTYPES)),
    seed=st.integers(0, 999),
)
def test_tokens_are_routed_and_mixed_as_the_formula_says(
    ranks: list[int], tokens: int, top_k: int, d_in: int, d_out: int, dtype: torch.dtype, seed: int
) -> None:
    module = module_of(ranks, d_in, d_out, seed=seed, dtype=dtype)
    draw = torch.Generator().manual_seed(seed)
    hidden, before = (torch.randn(tokens, width, generator=draw).to(dtype) for width in (d_in, d_out))
    output = before.clone()

    chosen = triton_calls.arrow(hidden, module, 3.0, top_k)
    triton_calls.mix(output, hidden, chosen, module)

    scores = (hidden.double() @ module.vectors.prototypes.double().T).abs()
    kept = scores.topk(min(top_k, len(ranks))).values
    assert all(len(set(row)) == len(row) for row in chosen.experts.tolist())
    torch.testing.assert_close(scores.gather(1, chosen.experts), kept, atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(chosen.weights.double(), (kept / 3.0).softmax(-1), atol=1e-4, rtol=1e-4)
    close(output, reference(before, hidden, chosen, module), dtype)


@DRAWN
@given(
    experts=st.integers(1, 40),
    tokens=st.integers(1, 9),
    top_k=st.integers(1, 6),
    dtype=st.sampled_from(list(DTYPES)),
    seed=st.integers(0, 999),
)
def test_of_equal_scores_the_earlier_expert_wins(
    experts: int, tokens: int, top_k: int, dtype: torch.dtype, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    prototypes = torch.randint(-1, 2, (experts, 8), generator=draw).float()
    module = pack_updates([{"": Update(row, torch.zeros(1, 8), torch.zeros(1, 4))} for row in prototypes])[""]
    hidden = torch.randint(-1, 2, (tokens, 8), generator=draw).to(dtype)

    chosen = triton_calls.arrow(hidden, module, 0.5, top_k)

    scores = (hidden.float() @ prototypes.T).abs()
    for row, found in zip(scores.tolist(), chosen.experts.tolist(), strict=True):
        assert found == sorted(range(experts), key=lambda expert: (-row[expert], expert))[:top_k]
    torch.testing.assert_close(chosen.weights, by_torch(scores, Terms(top_k, 0.5, experts)).weights)


@DRAWN
@given(
    rows=st.integers(1, 40).flatmap(
        lambda width: st.lists(st.lists(SCORES, min_size=width, max_size=width), min_size=1, max_size=4)
    ),
    top_k=st.integers(1, 10),
    temperature=st.floats(1e-3, 1e3),
    abstain=st.one_of(st.none(), st.floats(-5, 5)),
)
def test_scores_of_any_router_are_chosen_from_as_torch_does(
    rows: list[list[float]], top_k: int, temperature: float, abstain: float | None
) -> None:
    scores, terms = torch.tensor(rows), Terms(top_k, temperature, 9, abstain=abstain)

    with patch.object(routers, "kernels_for", lambda *_: triton_calls):
        chosen = best(scores, terms)

    expected = by_torch(scores, terms)
    torch.testing.assert_close(chosen.weights, expected.weights, atol=1e-6, rtol=1e-4)
    for token, row in enumerate(scores.tolist()):
        finite = [expert for expert, score in enumerate(row) if math.isfinite(score)]
        ranked = sorted(finite, key=lambda expert: -row[expert])[:top_k]
        assert chosen.experts[token, : len(ranked)].tolist() == ranked


@pytest.mark.parametrize(
    ("temperature", "weights"),
    [(1e-60, [0.5, 0.5, 0.0]), (1e-3, [0.5, 0.5, 0.0]), (1e300, [1 / 3, 1 / 3, 1 / 3])],
)
def test_the_smallest_temperature_sharpens_and_the_largest_levels(
    temperature: float, weights: list[float]
) -> None:
    chosen = triton_calls.choose(torch.tensor([[2.0, 1.0, 2.0]]), temperature, 3)

    assert chosen.experts.tolist() == [[0, 2, 1]]
    torch.testing.assert_close(chosen.weights, torch.tensor([weights]))


@pytest.mark.parametrize("tokens", [FEW, FEW + 2])
def test_who_has_no_weight_adds_nothing_not_even_what_is_not_finite(tokens: int) -> None:
    module = module_of([3, 2, 17], 20, 10)
    module.a[3:5] = float("nan")
    module.b[5:] = float("inf")
    chosen = Selection(torch.tensor([[0, 1, 2]] * tokens), torch.tensor([[0.5, 0.0, 0.0]] * tokens))
    hidden, output = torch.ones(tokens, 20), torch.zeros(tokens, 10)

    triton_calls.mix(output, hidden, chosen, module)

    only = Selection(chosen.experts[:, :1], chosen.weights[:, :1])
    close(output, reference(torch.zeros(tokens, 10), hidden, only, module), torch.float32)


@pytest.mark.parametrize("tokens", [FEW, FEW + 2])
def test_an_expert_that_is_not_finite_harms_only_who_chose_it(tokens: int) -> None:
    module = module_of([3, 2], 20, 10)
    module.b[3:] = float("inf")
    chosen = Selection(torch.tensor([[1]] + [[0]] * (tokens - 1)), torch.ones(tokens, 1))
    hidden, output = torch.ones(tokens, 20), torch.zeros(tokens, 10)

    triton_calls.mix(output, hidden, chosen, module)

    assert not output[0].isfinite().any()
    assert output[1:].isfinite().all()


@pytest.mark.parametrize("tokens", [FEW, FEW + 2])
def test_whoever_has_no_weight_has_no_part_whatever_it_makes_of_a_token(tokens: int) -> None:
    module, sound = module_of([3, 0, 2], 20, 10), module_of([3, 0, 2], 20, 10)
    module.a[:3] = float("inf")
    chosen = Selection(torch.tensor([[2, 0, 1]] * tokens), torch.tensor([[0.75, 0.0, 0.25]] * tokens))
    hidden, output = torch.ones(tokens, 20), torch.zeros(tokens, 10)

    triton_calls.mix(output, hidden, chosen, module)

    close(output, reference(torch.zeros(tokens, 10), hidden, chosen, sound), torch.float32)


@pytest.mark.parametrize("experts", [5, 20])
@pytest.mark.parametrize("tokens", [FEW, FEW + 2])
def test_what_is_not_finite_stays_with_its_token(tokens: int, experts: int) -> None:
    module = module_of([3] * experts, 20, 10)
    hidden = torch.randn(tokens, 20, generator=torch.Generator().manual_seed(1))
    whole = torch.zeros(tokens, 10)
    triton_calls.mix(whole, hidden, triton_calls.arrow(hidden, module, 1.0, 2), module)
    broken, output = hidden.clone(), torch.zeros(tokens, 10)
    broken[1, 7], broken[2, 3] = float("nan"), float("inf")

    chosen = triton_calls.arrow(broken, module, 1.0, 2)
    triton_calls.mix(output, broken, chosen, module)

    assert not chosen.weights[1].any()
    assert not output[1].any()
    assert not chosen.weights[2].any()
    healthy = [token for token in range(tokens) if token not in (1, 2)]
    assert torch.equal(output[healthy], whole[healthy])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("experts", [5, 20])
def test_a_token_gets_the_same_bits_whoever_else_is_in_its_pass(experts: int, dtype: torch.dtype) -> None:
    """The interpreter shows that the sums are the same ones; `bench.gpu` looks at a GPU's bits."""
    module = module_of([1 + place % 20 for place in range(experts)], 70, 40, dtype=dtype)
    draw = torch.Generator().manual_seed(2)
    hidden, before = (torch.randn(6, width, generator=draw).to(dtype) for width in (70, 40))

    def answers(tokens: slice) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        output = before[tokens].clone()
        chosen = triton_calls.arrow(hidden[tokens].contiguous(), module, 0.5, 2)
        triton_calls.mix(output, hidden[tokens].contiguous(), chosen, module)
        return chosen.experts, chosen.weights, output

    together = answers(slice(0, 6))
    for tokens in (slice(1, 2), slice(3, 6)):
        for alone, among in zip(answers(tokens), together, strict=True):
            assert torch.equal(alone, among[tokens])


def test_modules_without_a_row_add_nothing() -> None:
    module = module_of([0, 0], 6, 4)
    output = torch.ones(2, 4)

    triton_calls.mix(output, torch.ones(2, 6), triton_calls.arrow(torch.ones(2, 6), module, 1.0, 2), module)

    assert torch.equal(output, torch.ones(2, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_they_pass_their_own_trial(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accelerated, "TRIED_WIDTHS", (70, 20))
    accelerated._try(triton_calls, CPU, dtype)


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's processor taken for a GPU."""
    monkeypatch.setattr(accelerated, "DEVICE", "cpu")
    monkeypatch.setattr(accelerated, "kernels", lambda *_: triton_calls)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("tokens", [1, 9])
def test_a_layer_is_given_to_them(tokens: int) -> None:
    module = module_of([2, 5, 1], 12, 9)
    hidden = torch.randn(tokens, 12, generator=torch.Generator().manual_seed(3))
    seat, output = Seat(module, Terms(2, 0.5, 3)), torch.zeros(tokens, 9)

    with patch.object(triton_calls, "mix", wraps=triton_calls.mix) as mixed:
        chosen = add_arrow(output, hidden, ROUTERS["arrow"], seat)
        assert chosen is not None
        mixing.add_mixture(output, hidden, chosen, module)

    assert mixed.call_count == 2
    expected = by_torch((hidden @ module.vectors.prototypes.T).abs(), seat.terms)
    assert torch.equal(chosen.experts, expected.experts)
    once = reference(torch.zeros(tokens, 9), hidden, expected, module)
    close(output, 2 * once, torch.float32)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_what_they_cannot_do_is_left_to_torch() -> None:
    row = torch.ones(2, 3)

    assert accelerated.kernels_for(2, row) is triton_calls
    assert accelerated.kernels_for(accelerated.MOST + 1, row) is None
    assert accelerated.kernels_for(2, row, row.half()) is None
    assert accelerated.kernels_for(2, row.double()) is None
    assert accelerated.kernels_for(2, row.T) is None
    with torch.enable_grad():
        assert accelerated.kernels_for(2, row) is None


def test_no_processor_is_taken_for_a_gpu() -> None:
    assert accelerated.kernels_for(2, torch.ones(2, 3)) is None


@pytest.mark.parametrize("trouble", ["missing", "chooses", "mixes"])
def test_without_them_torch_does_it_and_the_log_says_so_once(
    trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accelerated, "TRIED_WIDTHS", (20, 10))

    def arrow(*asked: Any) -> Selection:
        right = triton_calls.arrow(*asked)
        return Selection(right.experts.flip(1), right.weights) if trouble == "chooses" else right

    def mix(output: torch.Tensor, *asked: Any) -> None:
        triton_calls.mix(output, *asked)
        if trouble == "mixes":
            output[0, 0] = float("nan")

    def imported(name: str) -> object:
        if trouble == "missing":
            raise ModuleNotFoundError(f"No module named {name!r}")
        parts = {"FEW": FEW, "arrow": arrow, "choose": triton_calls.choose, "mix": mix}
        return type(
            "Wrong",
            (),
            {name: staticmethod(part) if callable(part) else part for name, part in parts.items()},
        )

    monkeypatch.setattr(importlib, "import_module", imported)
    with caplog.at_level(logging.WARNING):
        assert accelerated.kernels.__wrapped__(CPU, torch.float32) is None

    [line] = caplog.messages
    assert "experts are chosen and mixed by torch alone, which is slower" in line
