"""Voices: who spoke where one token was predicted, by the expert that leads there and at each module."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.layers import EVERYTHING
from routing.traces import Record


@dataclass(frozen=True)
class Voice:
    """The experts that were mixed at the token before one that was drawn: what they said is that token.

    `modules` are those that saw this token and that some expert of the pack touches. At each stand the expert
    with the most weight, as a place in the pack, and its weight; None and 0 where the token kept the plain
    base. `share` is what the leading expert was given of all the weight that these modules had to give.
    """

    leading: int | None
    share: float
    modules: tuple[str, ...]
    experts: tuple[int | None, ...]
    weights: tuple[float, ...]


def last_voice(record: Record, tokens: slice, *, read: int) -> Voice | None:
    """Who spoke at the last of these tokens of a pass that read so many; None if no module was routed."""
    parts = record.modules
    if tokens == EVERYTHING:  # modules of an encoder, and those that read what it made, saw other tokens
        parts = [part for part in parts if len(part[1].experts) == read]
    if not parts:
        return None
    last = read - 1 if tokens == EVERYTHING else tokens.stop - 1
    if len(parts) == len(record.modules):
        row = record.side_by_side.of(slice(last, last + 1))
        experts, weights = row.experts[0].cpu(), row.weights[0].cpu()
    else:
        experts = torch.cat([part.experts[last] for _, part in parts]).cpu()
        weights = torch.cat([part.weights[last] for _, part in parts]).cpu()
    widths = [part.experts.shape[1] for _, part in parts]
    firsts = [_first(*chosen) for chosen in zip(experts.split(widths), weights.split(widths), strict=True)]
    leading, share = _leading(experts, weights, len(parts))
    return Voice(
        leading,
        share,
        tuple(name for name, _ in parts),
        tuple(expert for expert, _ in firsts),
        tuple(weight for _, weight in firsts),
    )


def _first(experts: Int[Tensor, " k"], weights: Float[Tensor, " k"]) -> tuple[int | None, float]:
    """Whoever was given the most at one module."""
    weight, place = weights.max(0)
    return (int(experts[place]), float(weight)) if weight > 0 else (None, 0.0)


def _leading(
    experts: Int[Tensor, " pairs"], weights: Float[Tensor, " pairs"], modules: int
) -> tuple[int | None, float]:
    """Whoever was given the most at all of them together, and its part of what they had to give."""
    heard, places = experts.unique(return_inverse=True)
    weight, place = torch.bincount(places, weights.double()).max(0)
    return (int(heard[place]), float(weight) / modules) if weight > 0 else (None, 0.0)
