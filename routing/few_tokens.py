"""Arrow in one go: of a few tokens on a CPU, of any number on a GPU; and of many on a CPU by sketch.

While answers are written a module sees one token of each, and what a step costs beside its numbers (a dozen
small operations at each of a hundred modules) is as much as the numbers themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from routing import accelerated, compiled, sketches
from routing.accelerated import kernels_for
from routing.compiled import MOST_CHOSEN, kernels, usable
from routing.pack import ModulePack
from routing.routers import ROUTERS, Router, Selection, Terms
from routing.sketches import choose_by_sketch, loops
from routing.trusted import WITHDRAWN

if TYPE_CHECKING:
    from routing.routes import Seat

FEW = 16  # tokens: beyond, a matrix product of all scores is faster
FEW_CHOSEN = 4  # experts of every token: beyond, one product of all their rows costs less
ARROW = ROUTERS["arrow"]

Floats = NDArray[np.float32]
AtOnce = Callable[[Floats, Floats], tuple[NDArray[np.int64], Floats]]


def at_once(module: ModulePack, terms: Terms) -> AtOnce | None:
    """One compiled call that adds the mixture to output [tokens, d_out] for hidden states [tokens, d_in].

    It returns who was chosen and with what weight [tokens, k]. None: there are no loops for these experts.
    """
    arrays, sketch, plain, read = module.arrays, module.sketch, kernels(), loops()
    k = min(terms.top_k, len(module))
    if arrays is None or plain is None or k > MOST_CHOSEN:
        return None
    loop, given = plain.choose_and_mix, tuple[Any, ...](arrays)
    if sketch is not None and read is not None:
        loop, given = read.choose_by_sketch_and_mix, (*arrays, *sketch)
    temperature = terms.temperature

    def add(output: Floats, hidden: Floats) -> tuple[NDArray[np.int64], Floats]:
        shape = (len(hidden), k)
        experts, weights = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
        loop(output, hidden, *given, temperature, experts, weights)
        return experts, weights

    return add


def chosen_at_once(module: ModulePack, chosen: Selection) -> AtOnce | None:
    """As `at_once`, where every token chooses the same [1, k]; None also where these are many."""
    arrays, plain = module.arrays, kernels()
    if arrays is None or plain is None or chosen.experts.shape[1] > FEW_CHOSEN:
        return None
    experts, weights = chosen.experts.contiguous().numpy(), chosen.weights.contiguous().numpy()
    factors = arrays[1:]

    def add(output: Floats, hidden: Floats) -> tuple[NDArray[np.int64], Floats]:
        tokens = len(hidden)
        of_each = (
            (experts, weights) if tokens == 1 else (experts.repeat(tokens, 0), weights.repeat(tokens, 0))
        )
        plain.mix(output, hidden, *of_each, *factors)
        return of_each

    return add


def add_arrow(
    output: Float[Tensor, "tokens d_out"], hidden: Float[Tensor, "tokens d_in"], router: Router, seat: Seat
) -> Selection | None:
    """Add the mixture to `output`, in place, and return who was chosen; None: this is for the general way."""
    if router is not ARROW or not seat.plain:
        return None
    terms, module = seat.terms, seat.module
    on_gpu = kernels_for(terms.top_k, hidden, output, module.a)
    if on_gpu is not None:
        try:
            selection: Selection = on_gpu.arrow(hidden, module, terms.temperature, terms.top_k)
            on_gpu.mix(output, hidden, selection, module)
        except Exception as error:  # noqa: BLE001 - whatever a compiler or a driver may say
            accelerated.give_up(error, output)
            return None
        return selection
    add = seat.at_once if hidden.shape[0] <= FEW and usable(output, hidden) and not WITHDRAWN else None
    if add is None:
        return None
    try:
        experts, weights = add(output.numpy(), hidden.numpy())
    except Exception as error:  # noqa: BLE001 - as above; a loop that fails has not written
        compiled.give_up(error)
        return None
    return Selection(torch.from_numpy(experts), torch.from_numpy(weights))


def choose_arrow(hidden: Float[Tensor, "tokens d_in"], router: Router, seat: Seat) -> Selection | None:
    """Who is chosen for many tokens among many experts; None: this is for the general way."""
    if router is not ARROW or not seat.plain or not usable(hidden):
        return None
    arrays, sketch = seat.module.arrays, seat.module.sketch
    terms = seat.terms
    if arrays is None or sketch is None or min(terms.top_k, len(seat.module)) > MOST_CHOSEN:
        return None
    try:
        found = choose_by_sketch(hidden, arrays.prototypes, sketch, terms.top_k, terms.temperature)
    except Exception as error:  # noqa: BLE001 - as above
        sketches.give_up(error)
        return None
    return None if found is None else Selection(*found)
