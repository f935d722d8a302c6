"""Routing vectors of all experts of a module, under each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from routing.sketches import Sketch, sketched


@dataclass(frozen=True)
class RoutingVectors:
    """What experts are recognised by at one module, in float32: row i belongs to the i-th expert present.

    `gates` are standardised, as they are compared; the row of an expert without a gate is NaN. `known` is the
    sketch, where it came out of that of other vectors.
    """

    prototypes: Float[Tensor, "experts d_in"]
    gates: Float[Tensor, "experts d_in"]
    known: Sketch | None = field(default=None, repr=False, compare=False)

    @property
    def absent(self) -> bool:
        """Whether they are elsewhere: tensors without memory stand in their place."""
        return self.prototypes.is_meta

    @property
    def nbytes(self) -> int:
        """How much memory they take."""
        parts = () if self.absent else (self.prototypes, self.gates)
        return sum(part.untyped_storage().nbytes() for part in parts)

    @cached_property
    def sketch(self) -> Sketch | None:
        """The prototypes in a quarter of their bytes, where many are looked through on a CPU."""
        return sketched(self.prototypes.detach().contiguous().numpy()) if self.known is None else self.known

    @property
    def made(self) -> Sketch | None:
        """The sketch, if it is there already."""
        found: Sketch | None = vars(self).get("sketch", self.known)
        return found


def gates_under_each_other(
    parts: Sequence[Float[Tensor, "experts d_in"]], *, any_gate: bool
) -> Float[Tensor, "all_experts d_in"]:
    """The gates of several that lie behind each other; without `any_gate` one row of NaN that all share."""
    return torch.cat(list(parts)) if any_gate else parts[0][0].clone().expand(sum(map(len, parts)), -1)
