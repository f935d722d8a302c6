"""Scales: the part of an update that works through the base's own weight (DoRA and (IA)^3), in exact form.

Every kind of expert is one sum, of which each part may be absent. With y = W x + bias the base's output,

    update(x) = B A x  +  output * y + shift  +  W (input * x),

so that its weight is dW = B A + diag(output) W + W diag(input), and sums of experts are of the same form:
their products with W are shared, one for all experts together. `shift` takes back what `output` would do to
the bias, for kinds that leave the bias alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional

from routing.adapter import Dora, InputScale, LowRank, ModuleUpdate, OutputScale
from routing.errors import UpdateNotFinite
from routing.weights import Layer

ROUNDING = 1e-6  # a change of a bias below this share of it is float32's


@dataclass(frozen=True)
class Scales:
    """Factors, less one, on the base's outputs and inputs, and a constant; None where there is nothing."""

    output: Float[Tensor, " d_out"] | None = None
    shift: Float[Tensor, " d_out"] | None = None
    input: Float[Tensor, " d_in"] | None = None

    def parts(self) -> list[Tensor]:
        """Those that are there."""
        return [part for part in (self.output, self.shift, self.input) if part is not None]

    def fit(self, d_in: int, d_out: int) -> bool:
        """Whether they are vectors of these widths."""
        outward = [part for part in (self.output, self.shift) if part is not None]
        inward = [] if self.input is None else [self.input]
        return all(part.shape == (d_out,) for part in outward) and all(p.shape == (d_in,) for p in inward)

    def to(self, device: torch.device, dtype: torch.dtype) -> Scales:
        """The same scales elsewhere."""
        parts = (self.output, self.shift, self.input)
        return Scales(*(None if part is None else part.to(device, dtype) for part in parts))


def exact_form(update: ModuleUpdate, layer: Layer) -> tuple[LowRank, Scales | None]:
    """An update as its low-rank part (of rank 0, if it has none) and its scales: float64, kept in float32.

    DoRA multiplies row i of W + s B A by c_i = magnitude_i / |row i|: dW = diag(c - 1) W + diag(c) s B A, and
    its bias stays (section 4 of arXiv 2402.09353; PEFT's `lora_magnitude_vector`). (IA)^3 multiplies the
    output, bias included, or the input (section 3.3 of arXiv 2205.05638; PEFT's `ia3_l`). UpdateNotFinite
    for a DoRA with a row that has no length.
    """
    match update:
        case LowRank():
            return update, None
        case OutputScale(scale):
            return _no_rank(layer), Scales(output=scale.double().sub(1).float())
        case InputScale(scale):
            return _no_rank(layer), Scales(input=scale.double().sub(1).float())
        case Dora(low_rank, magnitude):
            factor = magnitude.double() / _row_lengths(low_rank, layer.weight)
            if not bool(factor.isfinite().all()):
                raise UpdateNotFinite(
                    "a DoRA's update is not finite: a row of the updated weight has no length"
                )
            output = factor - 1
            shift = None if layer.bias is None else (-output * layer.bias.double().cpu()).float()
            b = factor.unsqueeze(1) * low_rank.b.double()
            return LowRank(low_rank.a, b.float(), low_rank.scaling), Scales(output.float(), shift)


def _no_rank(layer: Layer) -> LowRank:
    d_out, d_in = layer.weight.shape
    return LowRank(torch.zeros(0, d_in), torch.zeros(d_out, 0), 1.0)


def _row_lengths(low_rank: LowRank, weight: Float[Tensor, "d_out d_in"]) -> Float64[Tensor, " d_out"]:
    """The lengths of the rows of W + s B A."""
    a, b = (part.to(weight.device).double() for part in (low_rank.a, low_rank.b))
    whole = torch.addmm(weight.double(), b, a, alpha=low_rank.scaling)
    return torch.linalg.vector_norm(whole, dim=1).cpu()


def added_by(
    a: Float[Tensor, "rank d_in"],
    b: Float[Tensor, "d_out rank"],
    scales: Scales | None,
    weight: Float[Tensor, "d_out d_in"],
) -> Callable[[Tensor, Tensor], Tensor]:
    """The function that says what one update adds to the base's output: of (input, output of the base)."""
    a, b = a.to(weight), b.to(weight)
    there = None if scales is None else scales.to(weight.device, weight.dtype)

    def added(
        hidden: Float[Tensor, "*tokens d_in"], output: Float[Tensor, "*tokens d_out"]
    ) -> Float[Tensor, "*tokens d_out"]:
        change = (hidden @ a.T) @ b.T
        return change if there is None else change + _through_base(there, hidden, output, weight)

    return added


def _through_base(
    scales: Scales,
    hidden: Float[Tensor, "*tokens d_in"],
    output: Float[Tensor, "*tokens d_out"],
    weight: Float[Tensor, "d_out d_in"],
) -> Float[Tensor, "*tokens d_out"]:
    """output_scale * y + shift + W (input_scale * x)."""
    change = torch.zeros_like(output) if scales.output is None else scales.output * output
    if scales.shift is not None:
        change = change + scales.shift
    if scales.input is not None:
        change = change + functional.linear(scales.input * hidden, weight)
    return change


def weighted_scales(each: Sequence[Scales | None], weights: Sequence[float]) -> Scales | None:
    """The sum of weight x scales, None where nothing has any: what a weighted sum of updates has."""

    def total(parts: Sequence[Tensor | None]) -> Tensor | None:
        there = [w * part.double() for w, part in zip(weights, parts, strict=True) if part is not None]
        return torch.stack(there).sum(0).float() if there else None

    found = [scales or Scales() for scales in each]
    summed = Scales(
        total([scales.output for scales in found]),
        total([scales.shift for scales in found]),
        total([scales.input for scales in found]),
    )
    return summed if summed.parts() else None


def bias_change(scales: Scales, bias: Float[Tensor, " d_out"]) -> Float64[Tensor, " d_out"]:
    """Output * bias + shift: what scales do to the base's bias."""
    change = torch.zeros_like(bias, dtype=torch.float64)
    if scales.output is not None:
        change = change + scales.output.to(change) * bias.double()
    return change if scales.shift is None else change + scales.shift.to(change)


def changes_bias(scales: Scales, bias: Float[Tensor, " d_out"]) -> bool:
    """Whether scales do something to the base's bias that is more than rounding."""
    change = torch.linalg.vector_norm(bias_change(scales, bias))
    return bool(change > ROUNDING * torch.linalg.vector_norm(bias.double()))


def dense_scales(scales: Scales, weight: Float64[Tensor, "d_out d_in"]) -> Float64[Tensor, "d_out d_in"]:
    """diag(output) W + W diag(input)."""
    factor = weight.new_zeros(())
    if scales.output is not None:
        factor = factor + scales.output.to(weight).unsqueeze(1)
    if scales.input is not None:
        factor = factor + scales.input.to(weight)
    return factor * weight
