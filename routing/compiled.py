"""The compiled loops of `routing.kernels`, where numba is installed and they say what torch says."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch
from torch import Tensor

from routing.trusted import tried, withdraw

log = logging.getLogger(__name__)
INSTEAD = "experts are mixed by torch alone, which is slower"
MOST_CHOSEN = 64  # experts of a token: the loops keep these in order one by one, beyond torch is faster
TRIED = (
    (1.0, 3.0, float("nan"), 3.0, 2.0),
    (-1.0, -float("inf"), 0.5, 0.25, float("inf")),
    (float("nan"),) * 5,
)


@cache
def kernels() -> Any | None:
    """The module with the loops; None, and one line in the log, where there is torch alone."""
    return tried("routing.kernels", _try, log.warning, INSTEAD)


def give_up(error: Exception) -> None:
    """A loop has failed: torch does what they did, from now on."""
    withdraw(error, log.warning, INSTEAD)
    kernels.cache_clear()


@cache
def say_that_torch_mixes(dtype: torch.dtype) -> None:
    """One line in the log for tensors on a CPU that the loops are not for."""
    log.warning("%s on a CPU: experts are mixed by torch alone, which is slower than loops of float32", dtype)


def usable(*tensors: Tensor) -> bool:
    """Whether the loops may be given these: float32 on a CPU, row behind row, and nobody learns from them."""
    if torch.is_grad_enabled():
        return False
    for tensor in tensors:  # asked at every module of every token: a generator would take twice as long
        if not (tensor.is_cpu and tensor.dtype == torch.float32 and tensor.is_contiguous()):
            return False
    return True


def _try(found: Any) -> None:
    """Small sums whose results are known; ArithmeticError where one is wrong."""
    experts, weights = torch.empty(3, 2, dtype=torch.int64), torch.empty(3, 2)
    found.choose(torch.tensor(TRIED).numpy(), 1.0, experts.numpy(), weights.numpy())
    likelier = torch.tensor([0.25]).exp() / (1 + torch.tensor([0.25]).exp())
    expected = torch.tensor([[0.5, 0.5], [float(likelier), 1 - float(likelier)], [0.0, 0.0]])
    if experts.tolist() != [[1, 3], [2, 3], [0, 0]] or not torch.allclose(weights, expected, atol=1e-6):
        raise ArithmeticError(f"it chose {experts.tolist()} with {weights.tolist()}")
    ids = torch.arange(66, dtype=torch.float32)
    x, a, b = ids[:6].view(1, 6), ids[:30].view(5, 6) / 30, ids[:35].view(5, 7) / 35
    wanted, spans = 0.5 * (x @ a.T) @ b, torch.tensor([[0, 0], [0, 5]])
    for tokens in (1, 40):  # pairs are sorted in two ways
        output, many = torch.zeros(tokens, 7), x.repeat(tokens, 1)
        chosen, shares = (
            torch.tensor([[0, 1]]).repeat(tokens, 1),
            torch.tensor([[0.0, 0.5]]).repeat(tokens, 1),
        )
        found.mix(*(part.numpy() for part in (output, many, chosen, shares, a, b, spans)))
        if not torch.allclose(output, wanted.expand(tokens, 7), rtol=1e-5):
            raise ArithmeticError(
                f"it mixed {output[-1].tolist()} for {tokens} tokens, not {wanted.tolist()}"
            )
