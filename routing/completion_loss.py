"""The language-model loss on completions: how surprised the base, as it now answers, is by what follows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from routing.base import Base
from routing.rows import Row

IGNORED = -100


@torch.no_grad()
def mean_loss(base: Base, rows: Sequence[Row], at_once: int) -> float:
    """Mean negative log-likelihood of the completions, in nats per token, as the base now answers."""
    parts = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
    total = sum(float(summed_loss(base, part)) for part in parts)
    return total / completion_tokens(rows)


def summed_loss(base: Base, rows: Sequence[Row]) -> Float[Tensor, ""]:
    """The negative log-likelihood of all completion tokens of these rows together, in float32."""
    ids, labels = padded(rows, base.device)
    logits = base.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def completion_tokens(rows: Sequence[Row]) -> int:
    """How many tokens of these rows are predicted."""
    return sum(len(completion) for _, completion in rows)


def padded(
    rows: Sequence[Row], device: torch.device
) -> tuple[Int[Tensor, "rows length"], Int[Tensor, "rows length"]]:
    """Ids and labels padded on the right, where causal attention never looks back from."""
    width = max(len(prompt) + len(completion) for prompt, completion in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.int64)
    labels = torch.full_like(ids, IGNORED)
    for place, (prompt, completion) in enumerate(rows):
        end = len(prompt) + len(completion)
        ids[place, :end] = torch.tensor([*prompt, *completion])
        labels[place, len(prompt) : end] = torch.tensor(completion)
    return ids.to(device), labels.to(device)
