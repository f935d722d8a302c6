"""RMS norms in a loop say what the norm of the base said, and what is none of these stays as it is."""

from __future__ import annotations

import logging
from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaForCausalLM
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from routing import norm_loops, norms
from routing.laying_out import lay_out
from routing.layouts import Wanted
from routing.norms import LoopNorm, in_loops
from tests.tiny import tiny_llama


class LouderRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return 1.01 * super().forward(hidden_states)


class GatedRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states: Tensor, gate: Tensor | None = None) -> Tensor:
        normed = super().forward(hidden_states)
        return normed if gate is None else normed * gate


def replaced(norm: nn.Module) -> nn.Module:
    model = nn.Sequential(norm)
    in_loops(model)
    return model[0]


@pytest.mark.parametrize("kind", [LlamaRMSNorm, GemmaRMSNorm])
@settings(max_examples=40)
@given(
    width=st.sampled_from([1, 7, 64, 100, 768]),
    shape=st.sampled_from([(1, 1), (1, 16), (2, 3, 5), (1, 0)]),
    eps=st.sampled_from([1e-6, 1e-5]),
    scale=st.sampled_from([1e-20, 1e-3, 1.0, 1e4, 1e25]),
)
def test_it_says_what_the_norm_says(
    kind: type, width: int, shape: tuple[int, ...], eps: float, scale: float
) -> None:
    torch.manual_seed(width)
    norm = kind(width, eps=eps)
    norm.weight.data = torch.randn(width)
    x = torch.randn(*shape, width) * scale

    found = replaced(norm)

    assert isinstance(found, LoopNorm)
    with torch.inference_mode():
        torch.testing.assert_close(found(x), norm(x), atol=2e-6, rtol=2e-6)


@torch.inference_mode()
def test_a_row_gets_to_the_bit_what_it_gets_alone() -> None:
    found, x = replaced(LlamaRMSNorm(100)), torch.randn(1, 19, 100)
    assert all(torch.equal(found(x[:, :count])[:, -1], found(x[:, count - 1])) for count in range(1, 20))


@torch.inference_mode()
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_not_finite_shows_in_its_row_alone(number: float) -> None:
    found, x = replaced(LlamaRMSNorm(16)), torch.randn(1, 3, 16)
    x[0, 1, 5] = number
    assert found(x).isfinite().all(dim=-1).tolist() == [[True, False, True]]


def test_whoever_learns_and_what_is_not_row_behind_row_are_left_to_torch() -> None:
    norm, x = LlamaRMSNorm(6), torch.randn(6, 4).T.requires_grad_()
    found = replaced(norm)
    torch.testing.assert_close(found(x), norm(x), atol=2e-6, rtol=2e-6)
    found(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    "norm", [LouderRMSNorm(8), GatedRMSNorm(8), LlamaRMSNorm(8).bfloat16(), nn.RMSNorm(8)]
)
def test_what_says_or_takes_something_else_stays(norm: nn.Module) -> None:
    assert replaced(norm) is norm


def test_a_base_that_is_laid_out_says_the_same() -> None:
    model, ids = LlamaForCausalLM.from_pretrained(tiny_llama()), torch.arange(2, 9).view(1, -1)
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        lay_out(model, Wanted("stored"))
        after = model(input_ids=ids).logits

    assert sum(isinstance(module, LoopNorm) for module in model.modules()) == 2 * len(model.model.layers) + 1
    torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)


def test_without_a_loop_norms_stay_and_the_log_says_why(caplog: pytest.LogCaptureFixture) -> None:
    def wrong(output: Tensor, *_: object) -> None:
        output[:] = 1.0

    norm = LlamaRMSNorm(8)
    norms.loops.cache_clear()
    try:
        with patch.object(norm_loops, "normalise", wrong), caplog.at_level(logging.WARNING):
            assert replaced(norm) is norm
            with pytest.raises(RuntimeError, match="no compiled loop"):
                LoopNorm(norm.weight, 1e-6)
    finally:
        norms.loops.cache_clear()
    assert "norms are left to torch, which is slower: ArithmeticError: it says" in caplog.text
