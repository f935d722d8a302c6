"""Which entries of an expert's update a merge keeps: the largest (TIES), or some drawn by lot (DARE)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from routing.dense import DenseUpdate

# The bits of a float32 without its sign are ordered as its magnitudes are; they are looked at half by half.
HALF = 16
DRAWS_PER_STEP = 8  # Philox gives four words of 64 bits at a time: eight draws of 32


def threshold(expert: Mapping[str, DenseUpdate], density: float) -> float:
    """The magnitude that this share of all the expert's entries reaches: the exact k-th largest, k >= 1.

    Two passes of counting over blocks of rows, so neither the number of entries nor memory limits it. Equal
    magnitudes at the threshold are all kept.
    """
    total = sum(update.d_out * update.d_in for update in expert.values())
    wanted = max(1, round(density * total))
    if wanted >= total:
        return 0.0
    upper, wanted = _nth_largest(_counts(expert, lambda bits: bits >> HALF), wanted)
    lower, _ = _nth_largest(_counts(expert, lambda bits: bits[bits >> HALF == upper] & (2**HALF - 1)), wanted)
    return float(torch.tensor((upper << HALF) | lower, dtype=torch.int32).view(torch.float32))


def trimmed(update: DenseUpdate, rows: slice, smallest: float) -> Float32[Tensor, "rows d_in"]:
    """Some rows of an update, with zeros for entries whose magnitude is below `smallest`."""
    entries = update.rows(rows)
    return entries * (entries.abs() >= smallest)


def drawn(
    rows: slice, width: int, *, seed: int, expert: str, module: str, density: float
) -> Bool[Tensor, "rows width"]:
    """Which entries of some rows are kept when each is kept with probability `density`, by itself.

    Every entry has a draw of its own, a function of seed, expert, module and place alone (Philox, by
    counter): the same on every machine, in any order of modules and experts, and whatever the block is.
    """
    key = hashlib.sha256(f"{seed}\0{expert}\0{module}".encode()).digest()[:16]
    steps = -(-width // DRAWS_PER_STEP)
    source = np.random.Philox(key=int.from_bytes(key, "little"), counter=rows.start * steps)
    words = source.random_raw((rows.stop - rows.start) * steps * 4).astype("<u8", copy=False)
    draws = words.view("<u4").reshape(rows.stop - rows.start, -1)[:, :width]
    return torch.from_numpy(draws < round(density * 2**32))


def _counts(expert: Mapping[str, DenseUpdate], keys: Callable[[Tensor], Tensor]) -> Int64[Tensor, " keys"]:
    """How many of the expert's entries have each key, a function of the bits of their magnitude."""
    counts = torch.zeros(2**HALF, dtype=torch.int64)
    for update in expert.values():
        for _, block in update.blocks():
            found = keys(block.abs().flatten().view(torch.int32))
            counts += torch.bincount(found, minlength=2**HALF).cpu()
    return counts


def _nth_largest(counts: Int64[Tensor, " keys"], nth: int) -> tuple[int, int]:
    """The key of the nth largest entry, and the how manieth it is among those of its key."""
    at_least = counts.flip(0).cumsum(0).flip(0)
    key = int((at_least >= nth).nonzero().max())
    return key, nth - int(at_least[key] - counts[key])
