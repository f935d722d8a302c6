"""Inner products of updates that work through the base's weight W: exact, and W is needed once per expert.

With L = B A, u and v the scales of outputs and inputs, an update is L + diag(u) W + W diag(v). Every product
of two of these terms besides <L, L'> is a trace in which W stands once or twice:

    <L, diag(u) W> = u . diag(L W^T)            <L, W diag(v)> = v . diag(W^T L)
    <diag(u) W, diag(u') W> = u . (r * u')      r: the squared lengths of W's rows
    <W diag(v), W diag(v')> = v . (c * v')      c: the squared lengths of W's columns
    <diag(u) W, W diag(v)> = u . (W * W) v

so four vectors of an expert, made with W once, give its product with any other as two scalar products.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from routing.scales import Scales


@dataclass(frozen=True)
class BaseTraces:
    """The four vectors of some experts at one module: scales, and what others' scales are multiplied with.

    `outward` = diag(L W^T) + r * u / 2 + (W * W) v, `inward` = diag(W^T L) + c * v / 2.
    """

    output: Float64[Tensor, "experts d_out"]
    outward: Float64[Tensor, "experts d_out"]
    input: Float64[Tensor, "experts d_in"]
    inward: Float64[Tensor, "experts d_in"]

    def products(self, other: BaseTraces) -> Float64[Tensor, "experts others"]:
        """The inner products of all pairs, without those of their low-rank parts."""
        outward = self.output @ other.outward.T + self.outward @ other.output.T
        return outward + self.input @ other.inward.T + self.inward @ other.input.T


def base_traces(
    a: Float64[Tensor, "rows d_in"],
    b: Float64[Tensor, "rows d_out"],
    owners: Int[Tensor, " rows"],
    scales: list[Scales | None],
    weight: Float[Tensor, "d_out d_in"],
) -> BaseTraces:
    """The traces of experts whose low-rank rows lie under each other, row i that of expert `owners[i]`."""
    w = weight.to(a.device, torch.float64)
    output = a.new_zeros(len(scales), len(w))
    inward = a.new_zeros(len(scales), w.shape[1])
    outward, input_ = torch.zeros_like(output), torch.zeros_like(inward)
    for row, scale in enumerate(scales):
        if scale is not None and scale.output is not None:
            output[row] = scale.output.to(output)
        if scale is not None and scale.input is not None:
            input_[row] = scale.input.to(output)
    outward.index_add_(0, owners, b * (a @ w.T))
    inward.index_add_(0, owners, a * (b @ w))
    squares = w.square()
    outward += output * squares.sum(1) / 2 + input_ @ squares.T
    inward += input_ * squares.sum(0) / 2
    return BaseTraces(output, outward, input_, inward)
