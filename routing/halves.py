"""One expert's part of a module as it is read by itself: factors, and what it is recognised by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from routing.scaled_pack import ScaledPart


class Recognised(NamedTuple):
    """An expert's routing vectors at one module as they lie in a pack."""

    prototype: Float[Tensor, " d_in"]
    gate: Float[Tensor, " d_in"] | None

    def on(self, device: torch.device) -> Recognised:
        """The same on this device."""
        return Recognised(self.prototype.to(device), None if self.gate is None else self.gate.to(device))


@dataclass(frozen=True)
class Halves:
    """An expert's factors at one module as they lie in a pack; see `routing.pack.Update`.

    `recognised` are its routing vectors, where the pack has them not.
    """

    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "rank d_out"]
    scaled: ScaledPart | None
    recognised: Recognised | None = None

    def on(self, device: torch.device) -> Halves:
        """The same on this device: itself where it lies there."""
        return self if self.a.device == device else self.copied(device)

    def copied(self, device: torch.device) -> Halves:
        """The same in memory of its own."""
        a, b = (half.to(device).clone(memory_format=torch.contiguous_format) for half in (self.a, self.b))
        scaled = None if self.scaled is None else self.scaled.copied(device)
        return Halves(a, b, scaled, None if self.recognised is None else self.recognised.on(device))
