"""The kernels of `routing.triton_calls`, on each GPU where triton is installed and they say what is right.

The counterpart of `routing.compiled`: chosen by what the tensors are, tried before they are used at all, and
where anything is amiss torch computes the same, with one line in the log.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from routing.pack import ModulePack, Update, pack_updates
from routing.trusted import Partly, tried, withdraw

log = logging.getLogger(__name__)
DEVICE = "cuda"
MOST = 16  # experts of one token: beyond, torch's dense products are the better way
TOLERANCE = {torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 5e-2}  # of the largest number
TRIED_EXPERTS = 5, 20  # fewer and more than a tile holds
TRIED_RANKS = 0, 3, 17, 16, 8
TRIED_WIDTHS = 1040, 96
SHARP = 0.1
GIVEN_UP: set[tuple[torch.device, torch.dtype]] = set()  # where a kernel has failed since its trial


def kernels_for(k: int, *tensors: Tensor) -> Any | None:
    """The module with the kernels; None where these tensors, or k experts of each token, are for torch.

    They must lie on one GPU, row behind row, in one dtype, and nobody may learn from them.
    """
    first = tensors[0]
    if first.device.type != DEVICE or torch.is_grad_enabled():
        return None
    if k > MOST:
        _say_that_many_are_for_torch(first.device)
        return None
    if GIVEN_UP and (first.device, first.dtype) in GIVEN_UP:
        return None
    alike = all(one.device == first.device and one.dtype == first.dtype for one in tensors)
    if not alike or first.dtype not in TOLERANCE or not all(one.is_contiguous() for one in tensors):
        return None
    return kernels(first.device, first.dtype)


@cache
def kernels(device: torch.device, dtype: torch.dtype) -> Any | None:
    """The module with the kernels; None, and one line in the log, where this device has torch alone."""
    instead = _instead(device, dtype)
    return tried("routing.triton_calls", lambda found: _try(found, device, dtype), log.warning, instead)


def give_up(error: Exception, beside: Tensor) -> None:
    """A kernel has failed: torch does what they did for tensors like this one, from now on.

    The error again where it had written already, for the pass as a whole is to be tried once more; and where
    memory was short or a graph is being captured, which is no fault of the kernel.
    """
    if beside.is_cuda and torch.cuda.is_current_stream_capturing():
        raise error
    withdraw(error, log.warning, _instead(beside.device, beside.dtype))
    GIVEN_UP.add((beside.device, beside.dtype))
    if isinstance(error, Partly):
        raise error


def _instead(device: torch.device, dtype: torch.dtype) -> str:
    return f"{device} in {dtype}: experts are chosen and mixed by torch alone, which is slower"


@cache
def _say_that_many_are_for_torch(device: torch.device) -> None:
    log.warning("%s: of more than %d experts for each token, torch chooses and mixes them", device, MOST)


def _try(found: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Choose and mix for few and for many tokens, and compare with float64; ArithmeticError if it differs.

    It also compiles the kernels, before anybody waits for an answer.
    """
    draw = torch.Generator().manual_seed(0)
    d_in, d_out = TRIED_WIDTHS
    for experts in TRIED_EXPERTS:
        module = _module(experts, draw, device, dtype)
        for tokens in (3, found.FEW + 2):
            hidden = torch.randn(tokens, d_in, generator=draw).to(device, dtype)
            output = torch.zeros(tokens, d_out, device=device, dtype=dtype)
            selection = found.arrow(hidden, module, SHARP, 2)
            again = found.choose((hidden.float() @ module.vectors.prototypes.T).abs(), SHARP, 2)
            found.mix(output, hidden, selection, module)
            scores = (hidden.double() @ module.vectors.prototypes.double().T).abs()
            kept, wanted = scores.topk(2)
            weights = (kept / SHARP).softmax(-1)
            for chosen in (selection, again):
                if not torch.equal(chosen.experts, wanted):
                    raise ArithmeticError(f"of {experts} experts it chose {chosen.experts.tolist()}")
                _compare(chosen.weights, weights, 1e-3)
            _compare(output, _mixture(hidden, wanted, weights, module), TOLERANCE[dtype])


def _module(experts: int, draw: torch.Generator, device: torch.device, dtype: torch.dtype) -> ModulePack:
    d_in, d_out = TRIED_WIDTHS

    def update(rank: int) -> Update:
        a, b = torch.randn(rank, d_in, generator=draw), torch.randn(rank, d_out, generator=draw)
        prototype = torch.randn(d_in, generator=draw) * d_in**-0.5
        return Update(prototype.to(device), a.to(device, dtype), b.to(device, dtype))

    updates = [{"": update(TRIED_RANKS[place % len(TRIED_RANKS)])} for place in range(experts)]
    return pack_updates(updates)[""]


def _mixture(
    hidden: Float[Tensor, "tokens d_in"], experts: Tensor, weights: Tensor, module: ModulePack
) -> Float[Tensor, "tokens d_out"]:
    """The sum in float64, dense: every row of `a`, those of other experts with a weight of zero."""
    shares = weights.new_zeros(len(hidden), len(module)).scatter_add_(1, experts, weights)
    return (hidden.double() @ module.a.double().T * shares[:, module.owners]) @ module.b.double()


def _compare(found: Tensor, wanted: Tensor, tolerance: float) -> None:
    off, largest = float((found.double() - wanted).abs().max()), float(wanted.abs().max())
    if not off <= tolerance * largest:  # NaN is not
        raise ArithmeticError(f"off by {off:.2g} where the largest number is {largest:.2g}")
