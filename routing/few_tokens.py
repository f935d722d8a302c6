"""Arrow in one go: of a few tokens on a CPU, of any number on a GPU; and of many on a CPU by sketch.

While answers are written a module sees one token of each, and what a step costs beside its numbers (a dozen
small operations at each of a hundred modules) is as much as the numbers themselves.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from routing.accelerated import kernels_for
from routing.compiled import kernels, usable
from routing.routers import ROUTERS, Router, Selection
from routing.routes import Seat
from routing.sketches import choose_by_sketch, loops

FEW = 16  # tokens: beyond, a matrix product of all scores is faster
ARROW = ROUTERS["arrow"]


def add_arrow(
    output: Float[Tensor, "tokens d_out"], hidden: Float[Tensor, "tokens d_in"], router: Router, seat: Seat
) -> Selection | None:
    """Add the mixture to `output`, in place, and return who was chosen; None: this is for the general way."""
    if router is not ARROW or not seat.plain:
        return None
    terms, module, tokens = seat.terms, seat.module, hidden.shape[0]
    on_gpu = kernels_for(terms.top_k, hidden, output, module.a)
    if on_gpu is not None:
        selection: Selection = on_gpu.arrow(hidden, module, terms.temperature, terms.top_k)
        on_gpu.mix(output, hidden, selection, module)
        return selection
    if tokens > FEW or not usable(output, hidden):
        return None
    arrays, sketch, compiled, read = module.arrays, module.sketch, kernels(), loops()
    if arrays is None or compiled is None:
        return None
    shape = (tokens, min(terms.top_k, len(module)))
    experts, weights = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
    mixed = (output.numpy(), hidden.numpy(), *arrays)
    if sketch is None or read is None:
        compiled.choose_and_mix(*mixed, terms.temperature, experts, weights)
    else:
        read.choose_by_sketch_and_mix(*mixed, *sketch, terms.temperature, experts, weights)
    return Selection(torch.from_numpy(experts), torch.from_numpy(weights))


def choose_arrow(hidden: Float[Tensor, "tokens d_in"], router: Router, seat: Seat) -> Selection | None:
    """Who is chosen for many tokens among many experts; None: this is for the general way."""
    if router is not ARROW or not seat.plain or not usable(hidden):
        return None
    arrays, sketch = seat.module.arrays, seat.module.sketch
    if arrays is None or sketch is None:
        return None
    terms = seat.terms
    found = choose_by_sketch(hidden, arrays.prototypes, sketch, terms.top_k, terms.temperature)
    return None if found is None else Selection(*found)
