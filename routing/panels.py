"""Reading a weight where oneDNN laid it, for one or two tokens: twice as fast as oneDNN reads it itself.

On processors with vectors of 512 bits oneDNN keeps a float32 weight in *panels*: 64 outputs beside each
other, input by input. It does not promise that, so a small weight is laid out first to see whether it is so.
"""

from __future__ import annotations

import ctypes
import logging
import math
from functools import cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from routing.compiled import usable
from routing.trusted import tried

log = logging.getLogger(__name__)
FEW = 2  # tokens: from the third on oneDNN is as fast
THREADS = (
    2  # of torch's: the loops have one, which is as fast as memory; with more than two, oneDNN is faster
)
WIDTH = 64

Panels = NDArray[np.float32]


def panels_of(packed: Tensor, d_out: int, d_in: int) -> Panels | None:
    """A view of a packed weight as [d_out / 64, d_in, 64], valid while `packed` is; None where it is none."""
    if packed.dtype != torch.float32 or d_out % WIDTH or d_in % 4 or loops() is None:
        return None
    return _view(packed, d_out, d_in)


def multiplied(
    x: Float[Tensor, "*tokens d_in"], panels: Panels | None, bias: Float[Tensor, " d_out"] | None
) -> Float[Tensor, "*tokens d_out"] | None:
    """The product (and bias) for one or two tokens; None: this is for oneDNN itself."""
    if panels is None:
        return None
    *places, d_in = x.shape
    tokens = math.prod(places)
    if not 0 < tokens <= FEW:
        return None
    found = loops()
    if found is None or not usable(x) or torch.get_num_threads() > THREADS:
        return None
    sums = np.empty((tokens, len(panels) * WIDTH), dtype=np.float32)
    found.multiply(sums, x.numpy().reshape(tokens, d_in), panels)
    output = torch.from_numpy(sums).view(*places, len(panels) * WIDTH)
    return output if bias is None else output.add_(bias)


@cache
def loops() -> Any | None:
    """The compiled loops; None, and one line in the log, where weights do not lie as they expect."""
    return tried("routing.panel_loops", _try, log.info, "single tokens are multiplied by torch")


def _try(found: Any) -> None:
    """A small product whose result is known; ArithmeticError where a weight lies otherwise."""
    d_out, d_in = 2 * WIDTH, 32
    weight = torch.arange(d_out * d_in, dtype=torch.float32).view(d_out, d_in)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, FEW)  # noqa: SLF001 - torch has no public name for it
    panels = _view(packed, d_out, d_in)
    expected = weight.view(2, WIDTH, d_in).transpose(1, 2).numpy()
    if panels is None or not np.array_equal(panels, expected):
        raise ArithmeticError("this processor's layout is another one")
    x, output = torch.eye(FEW, d_in), torch.empty(FEW, d_out)
    found.multiply(output.numpy(), x.numpy(), panels)
    if not torch.equal(output, weight.T[:FEW]):
        raise ArithmeticError(f"it says {output.tolist()}")


def _view(packed: Tensor, d_out: int, d_in: int) -> Panels | None:
    """The bytes of a packed weight as panels; None where there are more or fewer than its numbers."""
    count = torch.ops.mkldnn._nbytes(packed) // 4  # noqa: SLF001 - as above
    if count != d_out * d_in:
        return None
    place = torch.ops.mkldnn.data_ptr(packed)
    numbers = np.ctypeslib.as_array((ctypes.c_float * count).from_address(place))
    return numbers.reshape(d_out // WIDTH, d_in, WIDTH)
