"""Planted experts: tasks whose true groups are known, each learnt from a random start of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from routing.adapter import LowRank
from routing.factors import Factors, canonical

MODULES = {"first": (48, 32), "second": (32, 40)}


@dataclass(frozen=True)
class Planted:
    """Experts by name, the adapters as trained, and the group that each was planted in."""

    experts: dict[str, dict[str, Factors]]
    uploads: dict[str, dict[str, LowRank]]
    groups: tuple[int, ...]


def planted(  # noqa: PLR0913  what can be planted
    *,
    groups: int = 4,
    each: int = 5,
    ranks: Sequence[int] = (8,),
    scales: Sequence[float] = (1.0,),
    shared_start: bool = False,
    noise: float = 0.6,
    seed: int = 0,
    steps: int = 60,
) -> Planted:
    """LoRAs fitted by gradient descent to linear tasks; a task is what its group shares plus `noise` of its
    own.

    Ranks and scales go round among the experts. With a shared start all begin at the same random A.
    """
    draw = torch.Generator().manual_seed(seed)
    common = [{name: _task(*widths, draw) for name, widths in MODULES.items()} for _ in range(groups)]
    experts: dict[str, dict[str, Factors]] = {}
    uploads: dict[str, dict[str, LowRank]] = {}
    for number in range(groups * each):
        group = number % groups
        rank, scale = ranks[number % len(ranks)], scales[number % len(scales)]
        start = torch.Generator().manual_seed(seed if shared_start else 1000 * seed + number + 1)
        trained = {}
        for module, widths in MODULES.items():
            target = (common[group][module] + noise * _task(*widths, draw)) / math.hypot(1.0, noise)
            trained[module] = _fitted(target, rank, scale, start, steps)
        name = f"expert-{number:03d}"
        uploads[name] = trained
        experts[name] = {module: canonical(update) for module, update in trained.items()}
    return Planted(experts, uploads, tuple(number % groups for number in range(groups * each)))


def _task(d_in: int, d_out: int, draw: torch.Generator) -> Tensor:
    """A random update of rank four and length one."""
    left, right = torch.randn(d_out, 4, generator=draw), torch.randn(4, d_in, generator=draw)
    return left @ right / torch.linalg.matrix_norm(left @ right)


def _fitted(target: Tensor, rank: int, scale: float, start: torch.Generator, steps: int) -> LowRank:
    """As LoRA starts: A random, B zero; then gradient steps on the squared distance to the target."""
    d_out, d_in = target.shape
    a = (torch.rand(rank, d_in, generator=start) * 2 - 1) / math.sqrt(d_in)
    b = torch.zeros(d_out, rank)
    for _ in range(steps):
        gap = b @ a - target
        a, b = a - 0.5 * b.T @ gap, b - 0.5 * gap @ a.T
    return LowRank(a, scale * b, 1.0)


def agreement(first: Sequence[int], second: Sequence[int]) -> float:
    """The adjusted Rand index of two groupings: 1 if they are the same, about 0 by chance (Hubert 1985)."""
    table = torch.zeros(max(first) + 1, max(second) + 1, dtype=torch.float64)
    for one, other in zip(first, second, strict=True):
        table[one, other] += 1

    def pairs(counts: Tensor) -> float:
        return float((counts * (counts - 1) / 2).sum())

    rows, columns = pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / pairs(torch.tensor([len(first)], dtype=torch.float64))
    highest = (rows + columns) / 2
    return 1.0 if highest == expected else (pairs(table) - expected) / (highest - expected)
