"""Arrow for a few tokens on a CPU: scores, choice and mixture in one compiled loop.

While answers are written a module sees one token of each, and what a step costs beside its numbers (a dozen
small operations at each of a hundred modules) is as much as the numbers themselves.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from routing.compiled import kernels, usable
from routing.routers import ROUTERS, Router, Selection
from routing.routes import Seat

FEW = 16  # tokens: beyond, a matrix product of all scores is faster


def add_arrow(
    output: Float[Tensor, "tokens d_out"], hidden: Float[Tensor, "tokens d_in"], router: Router, seat: Seat
) -> Selection | None:
    """Add the mixture to `output`, in place, and return who was chosen; None: this is for the general way."""
    if len(hidden) > FEW or router is not ROUTERS["arrow"] or not seat.plain or not usable(output, hidden):
        return None
    arrays, loops = seat.module.arrays, kernels()
    if arrays is None or loops is None:
        return None
    terms = seat.terms
    shape = (len(hidden), min(terms.top_k, len(seat.module)))
    experts, weights = torch.empty(shape, dtype=torch.int64), torch.empty(shape)
    loops.choose_and_mix(
        output.numpy(), hidden.numpy(), *arrays, terms.temperature, experts.numpy(), weights.numpy()
    )
    return Selection(experts, weights)
