"""One or two tokens are multiplied where oneDNN laid the weight, and otherwise by oneDNN itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from routing import panels
from routing.panels import FEW, THREADS, WIDTH, multiplied
from routing.prepacked import PrepackedLinear


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@given(
    st.integers(1, 5),
    st.sampled_from([4, 6, 16, 48, 50, 64, 96, 160]),
    st.integers(1, FEW),
    st.sampled_from([True, False]),
)
def test_products_are_those_of_the_layer(panes: int, d_in: int, tokens: int, biased: bool) -> None:  # noqa: FBT001 - drawn
    torch.manual_seed(panes * 1000 + d_in)
    layer = nn.Linear(d_in, panes * WIDTH, bias=biased)
    packed = PrepackedLinear(layer)
    x = torch.randn(1, tokens, d_in)

    with torch.inference_mode():
        torch.testing.assert_close(packed(x), layer(x), atol=1e-5, rtol=1e-4)
        if packed.panels is not None:  # whatever this processor's layout is, the layer's answer is right
            few = multiplied(x, packed.panels, packed.bias)
            assert few is not None
            torch.testing.assert_close(few, layer(x), atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_what_a_token_gets_does_not_depend_on_its_neighbour() -> None:
    packed = PrepackedLinear(nn.Linear(96, 128))
    if packed.panels is None:
        pytest.skip("oneDNN lays weights out in another way on this processor")
    x = torch.randn(2, 96)

    both = multiplied(x, packed.panels, packed.bias)
    alone = [multiplied(row.view(1, -1), packed.panels, packed.bias) for row in x]

    assert both is not None
    assert torch.equal(both, torch.cat([one for one in alone if one is not None]))


@torch.inference_mode()
def test_numbers_that_are_none_show() -> None:
    packed = PrepackedLinear(nn.Linear(16, 64))

    assert packed(torch.full((1, 16), float("nan"))).isnan().all()
    assert packed(torch.full((1, 16), float("inf"))).isfinite().logical_not().all()


@pytest.mark.parametrize("case", ["many tokens", "no token", "threads", "learning", "strided"])
def test_everything_else_is_for_onednn(case: str) -> None:
    packed = PrepackedLinear(nn.Linear(16, 64))
    x = {
        "many tokens": torch.randn(FEW + 1, 16),
        "no token": torch.randn(0, 16),
        "strided": torch.randn(16, 2).T,
    }
    torch.set_num_threads(THREADS + 1 if case == "threads" else 1)
    with torch.set_grad_enabled(case == "learning"):
        asked = x.get(case, torch.randn(1, 16))

        assert multiplied(asked, packed.panels, packed.bias) is None
        assert packed(asked).shape == (len(asked), 64)


def test_outputs_that_fill_no_panel_are_for_onednn() -> None:
    assert PrepackedLinear(nn.Linear(16, 65)).panels is None
    assert PrepackedLinear(nn.Linear(64, 64).bfloat16()).panels is None


def test_another_layout_is_noticed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    view = panels._view
    monkeypatch.setattr(panels, "_view", lambda *given: None if (v := view(*given)) is None else v[:, ::-1])
    panels.loops.cache_clear()
    try:
        with caplog.at_level(logging.INFO, logger="routing.panels"):
            assert panels.loops() is None
        assert "another one" in caplog.text
        assert PrepackedLinear(nn.Linear(16, 64)).panels is None
    finally:
        panels.loops.cache_clear()
