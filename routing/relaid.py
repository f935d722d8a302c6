"""A base's linear layer in another layout, compared with what it was before it takes its place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from routing.layouts import LAYOUTS, Layout, Shape
from routing.panels import PanelLinear, half_of, loops
from routing.prepacked import PrepackedLinear, prepacks

log = logging.getLogger(__name__)
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
SEEN = (1, 3, 8, 17)  # numbers of tokens that are tried

Relaid = PrepackedLinear | PanelLinear


class Kind(NamedTuple):
    """Layers that are alike to whoever multiplies."""

    shape: Shape
    dtype: torch.dtype
    transposed: bool
    half: torch.dtype | None  # the narrower kind that every number of the weight is

    def may_be(self, layout: Layout) -> bool:
        """Whether such a layer can be laid out so here."""
        if layout == "onednn":
            return prepacks(self.dtype)
        fits = self.dtype == torch.float32 and (layout == "panels" or self.half is not None)
        return fits and loops() is not None


def suits(layer: nn.Linear | Conv1D) -> bool:
    """Whether there are other layouts for this layer at all."""
    return layer.weight.device.type == "cpu" and layer.weight.dtype in TOLERANCE


def kind_of(layer: nn.Linear | Conv1D, half: Callable[[Tensor], torch.dtype | None] = half_of) -> Kind:
    """Conv1D keeps its weight as [d_in, d_out], Linear as [d_out, d_in]. Looks at every number."""
    rows, columns = layer.weight.shape
    transposed = isinstance(layer, Conv1D)
    shape = Shape(columns, rows) if transposed else Shape(rows, columns)
    return Kind(shape, layer.weight.dtype, transposed, half(layer.weight.detach()))


def relaid(name: str, layer: nn.Linear | Conv1D, kind: Kind, layout: Layout) -> Relaid | None:
    """The layer in this layout or, where it cannot have it, the next plainer one; None: it stays stored."""
    for one in reversed(LAYOUTS[1 : LAYOUTS.index(layout) + 1]):
        found = in_layout(name, layer, kind, one)
        if found is not None:
            return found
    return None


def in_layout(name: str, layer: nn.Linear | Conv1D, kind: Kind, layout: Layout) -> Relaid | None:
    """The layer laid out so, if it says the same; None if it cannot have it; the log says why."""
    if not kind.may_be(layout):
        return None
    try:
        found = _made(layer, kind, layout)
        off = max(_difference(layer, found, rows) for rows in SEEN)
    except (RuntimeError, AttributeError) as error:
        log.warning("%s is not laid out as %s: %s", name, layout, str(error).partition("\n")[0])
        return None
    if not off <= TOLERANCE[kind.dtype]:
        log.warning("%s is not laid out as %s: it would differ by %.2g of what it says", name, layout, off)
        return None
    return found


def _made(layer: nn.Linear | Conv1D, kind: Kind, layout: Layout) -> Relaid:
    if layout == "onednn":
        return PrepackedLinear(layer)
    return PanelLinear(layer, kind.half if layout == "halves" and kind.half else torch.float32)


@torch.inference_mode()
def _difference(layer: Any, found: Relaid, rows: int) -> float:
    """The largest difference, as a part of the largest number that was expected."""
    matrix = layer.weight.T if found.transposed else layer.weight
    draw = torch.Generator().manual_seed(rows)
    x = torch.randn(1, rows, matrix.shape[1], generator=draw).to(matrix.dtype)
    expected = functional.linear(x, matrix, layer.bias).float()
    largest = float(expected.abs().max())
    return float((found(x).float() - expected).abs().max()) / (largest or 1.0)
