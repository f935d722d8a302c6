"""How much memory the weights of a base take, known from its configuration and its files' headers.

It is no less than must be there, and little less than is: layouts, tokenizers and libraries come to it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import torch
from safetensors import SafetensorError

from routing.base import LOADING_FAILS
from routing.layouts import Wanted
from routing.promised import Amiss, matrices_in, skeleton_in

WIDE = torch.float32.itemsize


def size_of(folder: Path, dtype: torch.dtype) -> int | None:
    """Bytes of the base in this folder, loaded whole; None where nobody knows them beforehand."""
    return _known(lambda: _numbers(skeleton_in(folder)[0]) * dtype.itemsize)


def laid_size_of(folder: Path, dtype: torch.dtype, wanted: Wanted) -> int | None:
    """As `size_of`, for a CPU (see `routing.laid_base`): matrices may stay as narrow as they are in files."""
    if dtype != torch.float32:
        return size_of(folder, dtype)
    return _known(lambda: _laid_size_of(folder, wanted))


def _laid_size_of(folder: Path, wanted: Wanted) -> int:
    skeleton, matrices = matrices_in(folder)
    whole = _numbers(skeleton) * WIDE
    if not {None, "halves"} & {wanted.others, *wanted.shapes.values()}:
        return whole
    return whole - sum(prod(one.shape) * WIDE - one.nbytes for one in matrices)


def _numbers(skeleton: torch.nn.Module) -> int:
    """How many a model has; tied weights are there once."""
    return sum(weight.numel() for weight in skeleton.parameters())


def _known(size: Callable[[], int]) -> int | None:
    """None where the base cannot be loaded so, which loading it will say, or is quantised."""
    try:
        return size()
    except (*LOADING_FAILS, SafetensorError, Amiss):
        return None
