"""Arrow in one go: scores, choice and mixture of a few tokens on a CPU, and of any number on a GPU.

While answers are written a module sees one token of each, and what a step costs beside its numbers (a dozen
small operations at each of a hundred modules) is as much as the numbers themselves.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from routing.accelerated import kernels_for
from routing.compiled import kernels, usable
from routing.routers import ROUTERS, Router, Selection
from routing.routes import Seat

FEW = 16  # tokens: beyond, a matrix product of all scores is faster


def add_arrow(
    output: Float[Tensor, "tokens d_out"], hidden: Float[Tensor, "tokens d_in"], router: Router, seat: Seat
) -> Selection | None:
    """Add the mixture to `output`, in place, and return who was chosen; None: this is for the general way."""
    if router is not ROUTERS["arrow"] or not seat.plain:
        return None
    terms, module = seat.terms, seat.module
    on_gpu = kernels_for(terms.top_k, hidden, output, module.a)
    if on_gpu is not None:
        selection: Selection = on_gpu.arrow(hidden, module, terms.temperature, terms.top_k)
        on_gpu.mix(output, hidden, selection, module)
        return selection
    if len(hidden) > FEW or not usable(output, hidden):
        return None
    arrays, loops = module.arrays, kernels()
    if arrays is None or loops is None:
        return None
    shape = (len(hidden), min(terms.top_k, len(module)))
    experts, weights = torch.empty(shape, dtype=torch.int64), torch.empty(shape)
    loops.choose_and_mix(
        output.numpy(), hidden.numpy(), *arrays, terms.temperature, experts.numpy(), weights.numpy()
    )
    return Selection(experts, weights)
