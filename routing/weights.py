"""The base's own weights by module, as mathematics has them, for experts whose update works through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from routing.base import Base


class Layer(NamedTuple):
    """A target module of the base: y = weight x + bias, whichever way round its class keeps the weight."""

    weight: Float[Tensor, "d_out d_in"]
    bias: Float[Tensor, " d_out"] | None


Layers = Callable[[str], Layer]


def layers_of(base: Base) -> Layers:
    """The target modules of a loaded base by name, as views."""

    def layer(name: str) -> Layer:
        module = base.model.get_submodule(name)
        weight = module.weight.detach()
        if base.spec.module(name).kind == "conv1d":
            weight = weight.T
        return Layer(weight, None if module.bias is None else module.bias.detach())

    return layer
