"""What an expert is recognised by from its weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from routing.factors import Factors


@dataclass(frozen=True)
class RoutingVector:
    """How one module recognises an expert: its prototype (a unit vector), the update's singular values (the
    leading ones, if it is of full rank), and the gate that was trained for it, if one was.
    """

    prototype: Float[Tensor, " d_in"]
    sigma: Float[Tensor, " rank"]
    gate: Float[Tensor, " d_in"] | None = None


def arrow_prototype(factors: Factors) -> Float[Tensor, " d_in"]:
    """The input direction that the update stretches most: its top right singular vector (arXiv 2405.11157).

    The first row of the canonical `a`; its sign means nothing and is fixed there. An update of full rank has
    it in its outline, as exact.
    """
    return factors.leading.a[0]


def routing_vectors(
    factors: Mapping[str, Factors], gates: Mapping[str, Tensor] | None = None
) -> dict[str, RoutingVector]:
    """The routing vectors of an expert, one for each module that it changes."""
    learnt = gates or {}
    return {
        name: RoutingVector(arrow_prototype(module), module.leading.sigma, learnt.get(name))
        for name, module in factors.items()
    }
