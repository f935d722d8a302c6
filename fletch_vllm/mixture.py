"""The mixture as one operator of torch's: a compiler sees its shape and does not look inside.

Whom a token is sent to depends on numbers, so no graph of a layer can hold it; and what is inside is what
Fletch's own server runs (`routing.routers`, `routing.mixing`), so that both answer alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from routing.few_tokens import add_arrow
from routing.mixing import add_gathered, add_mixture
from routing.routers import Router
from routing.routes import Seat


@dataclass(frozen=True)
class Placed:
    """The experts at one layer of this process, and the router that chooses among them."""

    seat: Seat
    router: Router


# Operators are given tensors, numbers and names: experts are found by the name of their layer.
_PLACED: dict[str, Placed] = {}


def place(name: str, experts: Placed) -> None:
    """From now on these experts speak at the layer of this name."""
    _PLACED[name] = experts


def clear() -> None:
    """Forget all experts."""
    _PLACED.clear()


@torch.library.custom_op("fletch::mixture", mutates_args=())
def mixture(hidden: Tensor, judged: Tensor, name: str, width: int) -> Tensor:
    """What the chosen experts of layer `name` add to its output: [tokens, width].

    `hidden` [tokens, d] is what the layer reads, `judged` [tokens, d_in] what its router looks at: the same,
    or the whole of it where the layer reads a part. Zeros where no expert has a place.
    """
    output = hidden.new_zeros(len(hidden), width)
    placed = _PLACED.get(name)
    if placed is None or not len(hidden):
        return output
    seat, router = placed.seat, placed.router
    whole = hidden.shape == judged.shape  # the one loop scores what it mixes
    if whole and add_arrow(output, hidden, router, seat) is not None:
        return output
    selection = seat.select(router, judged)
    if hidden.is_cuda and torch.cuda.is_current_stream_capturing():
        add_gathered(output, hidden, selection, seat.module)  # the other ways ask the host how many are where
    else:
        add_mixture(output, hidden, selection, seat.module)
    return output


@mixture.register_fake
def _shape(hidden: Tensor, judged: Tensor, name: str, width: int) -> Tensor:  # noqa: ARG001 - its signature
    return hidden.new_empty(hidden.shape[0], width)
