"""The language-model loss on completions: how surprised the base, as it now answers, is by what follows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

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
    total = sum(float(summed_loss(base, part)) for part in parts_by_length(rows, at_once))
    return total / completion_tokens(rows)


def summed_loss(base: Base, rows: Sequence[Row]) -> Float[Tensor, ""]:
    """The negative log-likelihood of all completion tokens of these rows together, in float32."""
    ids, labels = padded(rows, base.device)
    # from where the first completion is predicted: of long prompts logits are most of the cost
    first = min(len(prompt) for prompt, _completion in rows) - 1
    trimmed = {"logits_to_keep": ids.shape[1] - first} if _trims_logits(type(base.model).forward) else {}
    logits = base.model(input_ids=ids, use_cache=False, **trimmed).logits
    predicted = logits[:, -(ids.shape[1] - first) : -1].float()
    return functional.cross_entropy(
        predicted.flatten(0, 1), labels[:, first + 1 :].flatten(), ignore_index=IGNORED, reduction="sum"
    )


@cache
def _trims_logits(forward: Callable[..., Any]) -> bool:
    """Whether an architecture can leave out the logits of what comes before."""
    return "logits_to_keep" in inspect.signature(forward).parameters


def parts_by_length(rows: Sequence[Row], at_once: int) -> Iterator[Sequence[Row]]:
    """The rows in parts that fit into memory, like lengths together: a sum over rows has no order, and a part
    is padded to its longest.
    """
    ordered = sorted(rows, key=lambda row: len(row[0]) + len(row[1]))
    for start in range(0, len(ordered), at_once):
        yield ordered[start : start + at_once]


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
