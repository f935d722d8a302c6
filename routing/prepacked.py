"""Linear layers whose weights lie in memory as oneDNN, torch's library of products, reads them.

A weight that is stored row by row is laid out anew in every product; laid out once, products of several rows
are faster. The operators are not part of torch's public interface, so each layer is compared with what it
replaces before it does (`routing.relaid`), and everything works without them.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

ROWS = 8  # the number of tokens that the layout is chosen for; it serves one and hundreds well too
EXACT_BITS = 4  # numbers of up to 16 rows are left as they are, larger ones keep so many leading bits
NOTHING: list[float] = []


class PrepackedLinear(nn.Module):
    """y = weight x + bias, from a weight in oneDNN's layout."""

    layout: Literal["onednn"] = "onednn"

    def __init__(self, layer: nn.Linear | Conv1D) -> None:
        """RuntimeError, or AttributeError, where this build of torch cannot."""
        super().__init__()
        self.transposed = isinstance(layer, Conv1D)
        matrix = layer.weight.detach()
        matrix = matrix.T.contiguous() if self.transposed else matrix
        self.packed = torch.ops.mkldnn._reorder_linear_weight(matrix, ROWS)  # noqa: SLF001
        bias: Tensor | None = layer.bias
        self.bias = None if bias is None else bias.detach()

    @cached_property
    @torch.inference_mode(mode=False)
    def weight(self) -> Tensor:
        """The weight as the replaced layer kept it, for the few who need it: it lies in memory twice then."""
        matrix: Tensor = self.packed.to_dense()
        return matrix.T if self.transposed else matrix

    def forward(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_out"]:
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


def prepacks(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies numbers of this kind here: bfloat16 not on every processor."""
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype != torch.bfloat16 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


def rounded(rows: int) -> int:
    """So many rows or up to an eighth more: oneDNN compiles a program for every number that it meets.

    It keeps the latest thousand, half a megabyte each: in passes of all lengths that grew for half an hour.
    """
    step = 1 << max(0, (rows - 1).bit_length() - EXACT_BITS)
    return -(-rows // step) * step
