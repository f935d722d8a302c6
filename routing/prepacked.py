"""Linear layers whose weights lie in memory as oneDNN, torch's library of products, reads them.

A weight that is stored row by row is laid out anew in every product; laid out once, products of several rows
are faster, and on some processors those of one or two by `routing.panels`. The operators are not part of
torch's public interface, so each layer is compared with what it replaces before it does, and everything works
without them.
"""

from __future__ import annotations

import logging
from copy import copy
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from routing.layouts import Layout
from routing.panels import multiplied, panels_of

log = logging.getLogger(__name__)
ROWS = 8  # the number of tokens that the layout is chosen for; it serves one and hundreds well too
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 2e-2}
SEEN = (1, 3, ROWS, 17)  # numbers of tokens that are tried
EXACT_BITS = 4  # numbers of up to 16 rows are left as they are, larger ones keep so many leading bits
NOTHING: list[float] = []


class PrepackedLinear(nn.Module):
    """y = weight x + bias, from a weight in oneDNN's layout."""

    def __init__(self, layer: nn.Linear | Conv1D, layout: Layout = "panels") -> None:
        """RuntimeError, or AttributeError, where this build of torch cannot.

        With `panels` one or two tokens are multiplied by `routing.panels`, where the weight lies so.
        """
        super().__init__()
        self.transposed = isinstance(layer, Conv1D)
        matrix = layer.weight.detach()
        matrix = matrix.T.contiguous() if self.transposed else matrix
        self.packed = torch.ops.mkldnn._reorder_linear_weight(matrix, ROWS)  # noqa: SLF001
        self.panels = panels_of(self.packed, *matrix.shape) if layout == "panels" else None
        bias: Tensor | None = layer.bias
        self.bias = None if bias is None else bias.detach()

    def by_onednn_alone(self) -> PrepackedLinear:
        """The same weight, once in memory, whose products of one or two tokens are oneDNN's too."""
        other = copy(self)
        other.panels = None
        return other

    @property
    def layout(self) -> Layout:
        """How one or two tokens are multiplied; the weight lies in one way."""
        return "onednn" if self.panels is None else "panels"

    @cached_property
    def weight(self) -> Tensor:
        """The weight as the replaced layer kept it, for the few who need it: it lies in memory twice then."""
        matrix: Tensor = self.packed.to_dense()
        return matrix.T if self.transposed else matrix

    def forward(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_out"]:
        few = multiplied(x, self.panels, self.bias)
        if few is not None:
            return few
        rows = x.numel() // x.shape[-1]
        asked = rounded(rows)
        if asked == rows:
            return self._product(x)
        padded = x.new_zeros(asked, x.shape[-1])
        padded[:rows] = x.reshape(rows, -1)
        output = self._product(padded)[:rows]
        return output.view(*x.shape[:-1], output.shape[-1])

    def _product(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_out"]:
        output: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001
            x, self.packed, self.bias, "none", NOTHING, ""
        )
        return output


def rounded(rows: int) -> int:
    """So many rows or up to an eighth more: oneDNN compiles a program for every number that it meets.

    It keeps the latest thousand, half a megabyte each: in passes of all lengths that grew for half an hour.
    """
    step = 1 << max(0, (rows - 1).bit_length() - EXACT_BITS)
    return -(-rows // step) * step


def suits(layer: nn.Linear | Conv1D) -> bool:
    """Whether oneDNN may be asked to lay this layer out at all."""
    weight = layer.weight
    return weight.device.type == "cpu" and weight.dtype in TOLERANCE and torch.backends.mkldnn.is_available()


def packed_like(name: str, layer: nn.Linear | Conv1D, layout: Layout) -> PrepackedLinear | None:
    """The layer laid out anew, if it says the same; None, and a line in the log, if not."""
    try:
        packed = PrepackedLinear(layer, layout)
        off = max(_difference(layer, packed, rows) for rows in SEEN)
    except (RuntimeError, AttributeError) as error:
        log.warning("%s is not laid out anew: %s", name, str(error).partition("\n")[0])
        return None
    if not off <= TOLERANCE[layer.weight.dtype]:
        log.warning("%s is not laid out anew: it would differ by %.2g of what it says", name, off)
        return None
    return packed


@torch.inference_mode()
def _difference(layer: Any, packed: PrepackedLinear, rows: int) -> float:
    """The largest difference, as a part of the largest number that was expected."""
    d_in = layer.weight.shape[0] if packed.transposed else layer.weight.shape[1]
    draw = torch.Generator().manual_seed(rows)
    x = torch.randn(1, rows, d_in, generator=draw).to(layer.weight.dtype)
    matrix = layer.weight.T if packed.transposed else layer.weight
    expected = functional.linear(x, matrix, layer.bias).float()
    largest = float(expected.abs().max())
    return float((packed(x).float() - expected).abs().max()) / (largest or 1.0)
