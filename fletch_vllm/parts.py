"""Tensor parallelism: the part of a module's experts that one of several processes mixes.

Every process chooses for itself, from the whole input and with the whole routing vectors, so that all of them
choose alike, and as one process alone would. What is cut is what costs memory and time: `a` or `b`. Nothing
is added to it later, and the memory that it was cut from is not kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fletch_vllm.errors import NotServable
from routing.pack import ModulePack, Moments
from routing.routers import ROUTERS, Router
from routing.routes import Seat
from routing.routing_vectors import RoutingVectors

READS_A = frozenset(ROUTERS[name] for name in ("spectral", "delta-norm", "two-stage"))
READS_B = frozenset({ROUTERS["delta-norm"]})  # the lengths of its rows


@dataclass(frozen=True)
class Part:
    """Process `rank` of `size`."""

    rank: int
    size: int

    def of(self, width: int) -> slice:
        """Its columns of so many, in order; NotServable if they cannot be shared out equally."""
        if width % self.size:
            raise NotServable([f"{width} columns cannot be cut into {self.size} equal parts"])
        share = width // self.size
        return slice(self.rank * share, (self.rank + 1) * share)


WHOLE = Part(0, 1)


def cut_output(seat: Seat, router: Router, part: Part) -> Seat:
    """For a layer that makes a part of the output (column-parallel): the same columns of `b`."""
    module = seat.module
    mine = replace(module, b=module.b[:, part.of(module.b.shape[1])].contiguous(), growing=None)
    return replace(seat, module=mine, judged=_judged(module) if router in READS_B else None)


def cut_input(seat: Seat, router: Router, part: Part) -> Seat:
    """For a layer that reads a part of the input (row-parallel): the same columns of `a`.

    What is mixed of them is a part of the sum that the processes add up for the layer itself.
    """
    module = seat.module
    mine = replace(module, a=module.a[:, part.of(module.a.shape[1])].contiguous(), growing=None)
    return replace(seat, module=mine, judged=_judged(module) if router in READS_A else None)


def moved(seat: Seat, device: torch.device) -> Seat:
    """The same on another device; what is judged and what is mixed go on sharing what they share."""
    there: dict[int, Tensor] = {}

    def move(tensor: Tensor) -> Tensor:
        return there.setdefault(id(tensor), tensor.to(device))

    def move_pack(module: ModulePack) -> ModulePack:
        return replace(
            module,
            vectors=RoutingVectors(move(module.vectors.prototypes), move(module.vectors.gates)),
            a=move(module.a),
            b=move(module.b),
            moments={kind: Moments(*map(move, found)) for kind, found in module.moments.items()},
            growing=None,
        )

    allowed = seat.terms.allowed
    return replace(
        seat,
        module=move_pack(seat.module),
        terms=replace(seat.terms, allowed=None if allowed is None else move(allowed)),
        judged=None if seat.judged is None else move_pack(seat.judged),
    )


def _judged(module: ModulePack) -> ModulePack:
    """The experts as a router sees them: whole inputs, and of outputs no more than their lengths."""
    return replace(module, b=module.sigma.unsqueeze(1), growing=None)
