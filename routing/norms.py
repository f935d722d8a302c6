"""RMS norms of a base on a CPU in one compiled loop: in transformers each is six operations of torch.

A base has two of them in every layer: while one answer is written they are a fifteenth of a step, little of
it numbers. Nobody keeps a list of architectures: what is called a norm of this kind is asked for numbers.
"""

from __future__ import annotations

import logging
from functools import cache
from inspect import signature
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from routing.compiled import usable
from routing.trusted import WITHDRAWN, tried, withdraw

log = logging.getLogger(__name__)
# Of the numbers that are asked: of small ones what is added to the mean square shows.
SCALES = 1.0, 1e-3, 0.0
TOLERANCE = 2e-6
INSTEAD = "norms are left to torch, which is slower"


class LoopNorm(nn.Module):
    """weight * x / sqrt(mean(x^2) + eps), for inference."""

    def __init__(self, weight: Float[Tensor, " width"], eps: float) -> None:
        """RuntimeError where there is no loop."""
        super().__init__()
        found = loops()
        if found is None:
            raise RuntimeError("there is no compiled loop")
        self.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
        self.eps = eps
        self._normalise = found.normalise
        self._weight = self.weight.detach().numpy()

    def forward(self, x: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens width"]:
        if INSTEAD in WITHDRAWN or not usable(x):  # somebody learns from it, or it is not row behind row
            return rms_norm(x, self.weight.shape, self.weight, self.eps)
        output, width = torch.empty_like(x), x.shape[-1]
        if width != self._weight.shape[0]:
            raise ValueError(f"a norm of {self._weight.shape[0]} numbers was given {width}")
        try:
            self._normalise(output.view(-1, width).numpy(), x.view(-1, width).numpy(), self._weight, self.eps)
        except Exception as error:  # noqa: BLE001 - whatever a compiler may say
            give_up(error)
            return rms_norm(x, self.weight.shape, self.weight, self.eps)
        return output


def in_loops(model: nn.Module) -> int:
    """Replace the RMS norms of a model in float32 on a CPU, for inference alone; how many there are.

    One that says something else than the loop stays as it is.
    """
    if loops() is None:
        return 0
    replaced = 0
    for name, module in list(model.named_modules()):
        found = _in_loop(module) if type(module).__name__.endswith("RMSNorm") else None
        if found is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, found)
            replaced += 1
    return replaced


@torch.no_grad()
def _in_loop(norm: Any) -> LoopNorm | None:
    """The same in a loop, by its weight or by one and its weight; None where neither says the same."""
    parameters = dict(norm.named_parameters())
    eps: Any = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    plain = list(parameters) == ["weight"] and isinstance(eps, float) and _suits(norm.weight)
    if not plain or len(signature(norm.forward).parameters) != 1:
        return None
    draw = torch.Generator().manual_seed(1)
    asked = [torch.randn(2, len(norm.weight), generator=draw) * scale for scale in SCALES]
    for weight in (norm.weight, 1 + norm.weight):
        found = LoopNorm(weight, eps)
        if all(torch.allclose(found(x), norm(x), rtol=TOLERANCE, atol=TOLERANCE) for x in asked):
            return found
    log.info("%s is left to torch: it is not x over its root mean square", type(norm).__name__)
    return None


def _suits(weight: Tensor) -> bool:
    return weight.is_cpu and weight.dtype == torch.float32 and weight.dim() == 1


@cache
def loops() -> Any | None:
    """The compiled loop; None, and one line in the log, where it is not to be had."""
    return tried("routing.norm_loops", _try, log.warning, INSTEAD)


def give_up(error: Exception) -> None:
    """The loop has failed: torch does it from now on."""
    withdraw(error, log.warning, INSTEAD)
    loops.cache_clear()


def _try(found: Any) -> None:
    """Two rows; ArithmeticError unless torch says the same of them."""
    x, weight = (torch.arange(38) * 0.7).sin().view(2, 19), torch.linspace(0.5, 2.0, 19)
    output = torch.empty_like(x)
    found.normalise(output.numpy(), x.numpy(), weight.numpy(), 1e-3)
    if not torch.allclose(output, rms_norm(x, (19,), weight, 1e-3), atol=1e-6):
        raise ArithmeticError(f"it says {output.tolist()}")
