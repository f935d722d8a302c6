"""Who spoke while one question was read and answered: shares of the experts, in all and layer by layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from routing.layers import EVERYTHING
from routing.traces import Record, Shares

MOST_EXPERTS = 6  # that are named; the others' weight is what is missing to one
MOST_IN_LAYERS = 3
MOST_LAYERS = 64


@dataclass(frozen=True)
class Speakers:
    """`shares` are parts of all mixing weight, the largest first; none where all tokens kept the plain base.

    `by_layer` has for the first of them the mean mixing weight over the tokens and modules of each of
    `layers`: what is missing to one there belongs to others and to the plain base.
    """

    shares: Mapping[str, float]
    layers: Sequence[int]
    by_layer: Mapping[str, Sequence[float]]


def speakers(record: Record) -> Speakers:
    """Of one pass over a prompt with its answer."""
    sums = Shares(record.pack)
    sums.hear(record, EVERYTHING)
    shares = {name: round(share, 4) for name, share in sums.by_expert().items()}
    named = list(shares)[:MOST_EXPERTS]
    layers, means = _by_layer(record)
    if len(layers) > MOST_LAYERS:
        layers, means = [], {}
    firsts = {name: means[name] for name in named[:MOST_IN_LAYERS] if name in means}
    return Speakers({name: shares[name] for name in named}, layers, firsts)


def _by_layer(record: Record) -> tuple[list[int], dict[str, list[float]]]:
    """The layers whose modules saw experts, and by expert the mean of its weight at each of them."""
    experts = record.pack.experts
    sums: dict[int, torch.Tensor] = defaultdict(lambda: torch.zeros(len(experts), dtype=torch.float64))
    seen: dict[int, int] = defaultdict(int)
    for name, part in record.modules:
        layer = layer_of(name)
        chosen, weights = part.experts.flatten().cpu(), part.weights.flatten().double().cpu()
        sums[layer] += torch.bincount(chosen, weights, minlength=len(experts))
        seen[layer] += len(part.experts)
    layers = sorted(layer for layer in sums if seen[layer])
    if not layers:
        return [], {}
    means = torch.stack([sums[layer] / seen[layer] for layer in layers], dim=1).tolist()
    return layers, {
        name: [round(value, 3) for value in row] for name, row in zip(experts, means, strict=True) if any(row)
    }


def layer_of(module: str) -> int:
    """The first number in a module's dotted name; 0 where it has none."""
    return next((int(part) for part in module.split(".") if part.isdecimal()), 0)
