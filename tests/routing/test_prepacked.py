"""Layers laid out for this processor answer as they did, and where they would not they stay as they are."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from routing import relaid
from routing.base import Base, load_base
from routing.composed import compose
from routing.laying_out import lay_out, layouts_of
from routing.layouts import Layout, Wanted
from routing.prepacked import PrepackedLinear, prepacks, rounded
from routing.spec import BaseRef
from routing.weights import layers_of
from tests.routing.libraries import TEXT, SmallLibrary, gpt2_library, llama_library, t5_library

ANEW = Wanted("onednn")


def rounded_to_halves(base: Base) -> Base:
    """The base with weights as most are published."""
    for weight in base.model.parameters():
        weight.data = weight.data.bfloat16().float()
    return base


@pytest.mark.parametrize(
    ("of", "layout"), [(llama_library, "halves"), (gpt2_library, "panels"), (t5_library, "onednn")]
)
def test_a_composed_model_answers_as_before(of: object, layout: Layout, tmp_path: Path) -> None:
    library: SmallLibrary = of(tmp_path)  # type: ignore[operator]
    plain = compose(rounded_to_halves(library.base()), library.experts())
    base = rounded_to_halves(library.base())
    linears = sum(isinstance(layer, nn.Linear | Conv1D) for layer in base.model.modules())

    lay_out(base.model, Wanted(layout))
    assert layouts_of(base.model) == {layout: linears}
    packed = compose(base, library.experts())

    torch.testing.assert_close(packed.base_logits(TEXT), plain.base_logits(TEXT), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(packed.logits(TEXT), plain.logits(TEXT), atol=1e-4, rtol=1e-4)
    for name in ("uniform", "arrow"):
        routing = packed.routing(router=name)
        torch.testing.assert_close(
            packed.logits(TEXT, routing), plain.logits(TEXT, routing), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("kind", ["linear", "conv1d"])
def test_weights_can_still_be_read(kind: str) -> None:
    layer = nn.Linear(7, 5) if kind == "linear" else Conv1D(5, 7)

    packed = PrepackedLinear(layer)

    assert torch.equal(packed.weight, layer.weight)
    x = torch.randn(2, 3, 7)
    torch.testing.assert_close(packed(x), layer(x))


def test_the_base_s_weights_are_what_they_were(tmp_path: Path) -> None:
    library = gpt2_library(tmp_path)
    before, base = layers_of(library.base()), load_base(BaseRef(str(library.folder)))
    lay_out(base.model, ANEW)
    after = layers_of(base)

    for module in base.spec.target_modules:
        assert torch.equal(after(module.name).weight, before(module.name).weight)


@pytest.mark.parametrize("trouble", ["wrong", "missing"])
def test_what_would_answer_otherwise_stays_as_it_is(
    trouble: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Trouble(PrepackedLinear):
        def __init__(self, layer: nn.Linear | Conv1D) -> None:
            if trouble == "missing":
                raise AttributeError("no such operator")
            super().__init__(layer)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * 1.01

    monkeypatch.setattr(relaid, "PrepackedLinear", Trouble)
    model = nn.Sequential(nn.Linear(6, 4))
    with caplog.at_level(logging.WARNING):
        (laid,) = lay_out(model, ANEW)

    assert laid.layouts == {"stored": 1}
    assert isinstance(model[0], nn.Linear)
    assert "0 is not laid out as onednn" in caplog.text


def test_half_precision_is_laid_out_too_and_double_is_not() -> None:
    half, double = nn.Sequential(nn.Linear(64, 32).bfloat16()), nn.Sequential(nn.Linear(64, 32).double())

    here = "onednn" if prepacks(torch.bfloat16) else "stored"
    assert [dict(one.layouts) for one in lay_out(half, Wanted("halves"))] == [{here: 1}]
    assert lay_out(double, ANEW) == []
    assert layouts_of(double) == {"stored": 1}


@torch.inference_mode()
def test_any_number_of_rows_is_answered_and_onednn_meets_few_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = nn.Linear(32, 48)
    packed = PrepackedLinear(layer)
    met, product = set(), packed._product

    def watched(x: torch.Tensor) -> torch.Tensor:
        met.add(x.numel() // x.shape[-1])
        return product(x)

    monkeypatch.setattr(packed, "_product", watched)
    for rows in range(0, 400, 3):
        x = torch.randn(1, rows, 32)
        torch.testing.assert_close(packed(x), layer(x), atol=1e-5, rtol=1e-4)

    assert len(met) < 60


def test_rows_grow_by_an_eighth_at_most() -> None:
    assert [rounded(rows) for rows in (0, 1, 7, 16, 17, 33, 65, 129, 255, 257)] == [
        *(0, 1, 7, 16, 18, 36, 72, 144, 256, 288)
    ]
    assert all(rows <= rounded(rows) <= rows * 9 / 8 for rows in range(5000))


def test_a_processor_that_does_not_multiply_halves_leaves_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relaid, "prepacks", lambda dtype: dtype != torch.bfloat16)
    half, single = nn.Linear(64, 32).bfloat16(), nn.Linear(64, 32)

    with caplog.at_level(logging.WARNING):
        laid = lay_out(nn.Sequential(half, single), ANEW)

    assert {one.kind.dtype: dict(one.layouts) for one in laid} == {
        torch.bfloat16: {"stored": 1},
        torch.float32: {"onednn": 1},
    }
    assert not caplog.messages
