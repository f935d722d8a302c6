"""Linear layers whose weights lie in panels of ours: in float32 or, if that loses nothing, at half the width.

A token of an answer costs what reading the weights costs. Nearly all published bases are files of bfloat16 or
float16, whose numbers are float32 numbers too: kept at their own width and widened in registers they give the
same sums from half the bytes. Whether a weight is such is asked of every number of it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from transformers.pytorch_utils import Conv1D

from routing.compiled import usable
from routing.threads import by_panels
from routing.trusted import WITHDRAWN, tried, withdraw

log = logging.getLogger(__name__)
HALVES = (torch.bfloat16, torch.float16)
BITS = {torch.bfloat16: torch.uint16, torch.float16: torch.int16}  # as `routing.panel_loops` tells them apart
INSTEAD = "layers in panels are multiplied by torch, which is slower and takes twice their memory"
PART = 2**22  # numbers that are looked at, or laid out, at once

Panels = NDArray[Any]


class PanelLinear(nn.Module):
    """y = weight x + bias, from a weight in panels."""

    def __init__(self, layer: nn.Linear | Conv1D, dtype: torch.dtype = torch.float32) -> None:
        """A layer in float32 whose every number is one of `dtype`; RuntimeError where there are no loops."""
        super().__init__()
        if loops() is None:
            raise RuntimeError("there are no compiled loops")
        self.transposed = isinstance(layer, Conv1D)
        matrix = layer.weight.detach()
        matrix = matrix.T if self.transposed else matrix
        self.d_out, self.dtype = matrix.shape[0], dtype
        self.panels = in_panels(matrix, dtype)
        bias: Tensor | None = layer.bias
        self.bias = None if bias is None else bias.detach()
        self._bias = None if bias is None else bias.detach().numpy()

    @property
    def layout(self) -> Literal["panels", "halves"]:
        """Whether its numbers are at half the width."""
        return "panels" if self.dtype == torch.float32 else "halves"

    @cached_property
    @torch.inference_mode(mode=False)
    def weight(self) -> Tensor:
        """The weight as the replaced layer kept it, for the few who need it: it lies in memory twice then."""
        matrix = out_of_panels(self.panels, self.dtype)[: self.d_out]
        return matrix.T if self.transposed else matrix

    def forward(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_out"]:
        if x.dtype != torch.float32:
            raise TypeError(f"a layer in panels multiplies float32, not {x.dtype}")
        x = x.contiguous()
        if INSTEAD in WITHDRAWN or not usable(x):  # somebody learns from it
            return self._by_torch(x)
        output = self.product(x.numpy().reshape(-1, x.shape[-1]))
        return torch.from_numpy(output.reshape(*x.shape[:-1], self.d_out))

    def product(self, hidden: NDArray[np.float32]) -> NDArray[np.float32]:
        """The outputs [tokens, d_out] for hidden states [tokens, d_in]; arrays are faster looked at."""
        found: Any = loops()
        output = np.empty((len(hidden), self.d_out), dtype=np.float32)
        try:
            by_panels(found.multiply, output, hidden, self.panels)
        except Exception as error:  # noqa: BLE001 - whatever a compiler may say
            withdraw(error, log.warning, INSTEAD)
            return self._by_torch(torch.from_numpy(hidden)).numpy()
        if self._bias is not None:
            output += self._bias
        return output

    def _by_torch(self, x: Float[Tensor, "*tokens d_in"]) -> Float[Tensor, "*tokens d_out"]:
        return functional.linear(x, self.weight.T if self.transposed else self.weight, self.bias)


def half_of(weight: Tensor) -> torch.dtype | None:
    """The narrower kind of number that each of these float32 numbers is; None where not all are of one."""
    if weight.dtype != torch.float32:
        return None
    return next((half for half in HALVES if all(_exact(part, half) for part in _parts(weight))), None)


def _parts(weight: Tensor) -> Iterator[Tensor]:
    rows = max(1, PART // weight[0].numel())
    return (weight[first : first + rows].contiguous() for first in range(0, len(weight), rows))


def _exact(part: Tensor, half: torch.dtype) -> bool:
    return torch.equal(narrowed(part, half).float().view(torch.int32), part.view(torch.int32))


def narrowed(part: Tensor, half: torch.dtype) -> Tensor:
    """The numbers at half the width. A bfloat16 is a float32's first bits: what is no number stays too."""
    if half == torch.bfloat16:
        return (part.view(torch.int32) >> 16).to(torch.int16).view(half)
    return part.to(half)


def in_panels(matrix: Float[Tensor, "d_out d_in"], dtype: torch.dtype) -> Panels:
    """[panels, d_in, width]; outputs that would fill the last one are zeros. Laid out part by part."""
    found: Any = loops()
    width: int = found.WIDTH
    d_out, d_in = matrix.shape
    panels = torch.zeros(-(-d_out // width), d_in, width, dtype=dtype)
    step = max(1, PART // (d_in * width))
    for first in range(0, len(panels), step):
        part = matrix[first * width : (first + step) * width]
        whole = len(part) // width
        narrow = part.contiguous() if dtype == torch.float32 else narrowed(part.contiguous(), dtype)
        panels[first : first + whole] = narrow[: whole * width].unflatten(0, (whole, width)).transpose(1, 2)
        if rest := len(part) - whole * width:
            panels[first + whole, :, :rest] = narrow[whole * width :].T
    return panels.view(BITS.get(dtype, dtype)).numpy()


def out_of_panels(panels: Panels, dtype: torch.dtype) -> Float[Tensor, "outputs d_in"]:
    """The matrix in float32, with the outputs that fill the last panel."""
    numbers = torch.from_numpy(panels).view(dtype)
    return numbers.transpose(1, 2).flatten(0, 1).float()


@cache
def loops() -> Any | None:
    """The compiled loops; None, and one line in the log, where they are not to be had."""
    return tried("routing.panel_loops", _try, log.info, "no weights are laid out in panels")


def _try(found: Any) -> None:
    """A small product of each kind whose result is known; ArithmeticError where one is wrong."""
    tokens, d_in = found.TILE + 1, found.TILE + 2
    x = torch.eye(tokens, d_in)
    for dtype in (torch.float32, *HALVES):
        weight = torch.arange(2 * found.WIDTH * d_in).remainder(256).to(dtype).view(2, d_in, found.WIDTH)
        output = torch.empty(tokens, 2 * found.WIDTH)
        found.multiply(output.numpy(), x.numpy(), weight.view(BITS.get(dtype, dtype)).numpy(), 0, 2)
        if not torch.equal(output.view(tokens, 2, found.WIDTH), weight[:, :tokens].transpose(0, 1).float()):
            raise ArithmeticError(f"of {dtype} it says {output.tolist()}")
