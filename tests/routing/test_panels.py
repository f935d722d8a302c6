"""Weights in panels say what the layer said, at half the width too where every number is one of half the width."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from routing import panels, threads
from routing.panels import HALVES, PanelLinear, half_of
from tests.routing.level_products import rough_products_of_levels

KINDS = (torch.float32, *HALVES)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def layer_of(weight: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False).requires_grad_(requires_grad=False)
    layer.weight.data = weight
    return layer


@settings(max_examples=60)
@given(
    st.sampled_from([1, 16, 40, 64, 65, 200]),
    st.sampled_from([1, 4, 6, 50, 96]),
    st.integers(1, 20),
    st.sampled_from(KINDS),
    st.sampled_from(["linear", "conv1d", "no bias"]),
)
def test_products_are_those_of_the_layer(
    d_out: int, d_in: int, tokens: int, dtype: torch.dtype, kind: str
) -> None:
    torch.manual_seed(d_out * 1000 + d_in)
    layer = Conv1D(d_out, d_in) if kind == "conv1d" else nn.Linear(d_in, d_out, bias=kind == "linear")
    layer.weight.data = torch.randn_like(layer.weight).to(dtype).float()
    x = torch.randn(1, tokens, d_in)

    laid = PanelLinear(layer, dtype)

    assert laid.layout == ("panels" if dtype == torch.float32 else "halves")
    assert torch.equal(laid.weight, layer.weight)
    with torch.inference_mode():
        torch.testing.assert_close(laid(x), layer.double()(x.double()).float(), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("dtype", KINDS)
def test_what_a_token_gets_does_not_depend_on_its_neighbours(dtype: torch.dtype) -> None:
    laid = PanelLinear(layer_of(torch.randn(130, 96).to(dtype).float()), dtype)
    x = torch.randn(19, 96)

    assert all(torch.equal(laid(x[:count])[-1], laid(x[count - 1])) for count in range(1, 20))


@torch.inference_mode()
@pytest.mark.parametrize("dtype", HALVES)
def test_the_ends_of_a_kind_stay_what_they_are(dtype: torch.dtype) -> None:
    ends = torch.finfo(dtype)
    subnormal = torch.tensor([1, 3, -32767], dtype=torch.int16).view(dtype).float()
    numbers = [ends.tiny, ends.smallest_normal, -ends.max, -0.0, float("inf"), float("-inf")]
    weight = torch.cat([subnormal, torch.tensor(numbers)]).view(-1, 1).repeat(1, 2)

    assert half_of(weight) == dtype
    laid = PanelLinear(layer_of(weight), dtype)
    said = laid(torch.tensor([[1.0, 0.0]]))[0]

    assert torch.equal(laid.weight.view(torch.int32), weight.view(torch.int32))
    assert torch.equal(said[:-2], weight[:-2, 0])
    assert said[-2:].isnan().all()  # an infinity times zero, as of any product


@torch.inference_mode()
def test_numbers_that_are_none_show() -> None:
    weight = torch.zeros(70, 3)
    weight[66, 1] = float("nan")

    assert half_of(weight) == torch.bfloat16
    assert PanelLinear(layer_of(weight), torch.bfloat16)(torch.ones(2, 3)).isnan().nonzero().tolist() == [
        *([0, 66], [1, 66])
    ]
    assert PanelLinear(layer_of(torch.ones(16, 3)))(torch.full((1, 3), float("nan"))).isnan().all()


def test_every_number_is_asked_for_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panels, "PART", 64)
    exact = torch.full((40, 10), 1.5)

    def other(number: float) -> torch.Tensor:
        return exact.clone().index_put_((torch.tensor(39), torch.tensor(9)), torch.tensor(number))

    assert half_of(exact) == torch.bfloat16
    assert half_of(other(1.0 + 2**-10)) == torch.float16  # more digits than a bfloat16 has
    assert half_of(other(1.0 + 2**-20)) is None
    assert half_of(other(2.0**100)) == torch.bfloat16  # larger than a float16 can be
    assert half_of(exact.double()) is None


def test_who_learns_from_it_gets_gradients() -> None:
    layer = layer_of(torch.randn(20, 8))
    x = torch.randn(2, 8, requires_grad=True)

    PanelLinear(layer)(x).sum().backward()

    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(2, 8))


@torch.inference_mode()
@pytest.mark.parametrize("case", ["strided", "no token"])
def test_whatever_form_hidden_states_have(case: str) -> None:
    layer = layer_of(torch.randn(20, 8))
    x = torch.randn(8, 3).T if case == "strided" else torch.randn(1, 0, 8)

    torch.testing.assert_close(PanelLinear(layer)(x), layer(x))


@torch.inference_mode()
def test_threads_share_the_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    laid, x = PanelLinear(layer_of(torch.randn(500, 24))), torch.randn(2, 24)
    alone = laid(x)
    monkeypatch.setattr(threads, "SHARE", 1)
    torch.set_num_threads(3)
    threads._others.cache_clear()

    assert torch.equal(laid(x), alone)
    assert threads._others.cache_info().misses == 1  # a pool was asked for, once


def test_loops_that_say_something_else_are_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(panels.BITS, torch.float16, torch.uint16)  # taken for bfloat16
    panels.loops.cache_clear()
    try:
        with caplog.at_level(logging.INFO, logger="routing.panels"):
            assert panels.loops() is None
        assert "of torch.float16 it says" in caplog.text
        with pytest.raises(RuntimeError, match="no compiled loops"):
            PanelLinear(nn.Linear(16, 64))
    finally:
        panels.loops.cache_clear()


def test_products_of_levels_are_exact() -> None:
    rough_products_of_levels()


def test_so_they_are_on_processors_of_which_nothing_is_known(tmp_path: Path) -> None:
    told = {"NUMBA_CACHE_DIR": str(tmp_path), "NUMBA_CPU_NAME": "generic"}

    done = subprocess.run(
        [sys.executable, "-m", "tests.routing.level_products"],
        env=os.environ | told,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "exact\n", done.stderr
