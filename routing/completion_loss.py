"""The language-model loss on completions: how surprised the base, as it now answers, is by what follows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from routing.base import Base
from routing.family import IGNORED
from routing.rows import Row


@torch.no_grad()
def mean_loss(base: Base, rows: Sequence[Row], at_once: int) -> float:
    """Mean negative log-likelihood of the completions, in nats per token, as the base now answers."""
    total = sum(float(summed_loss(base, part)) for part in parts_by_length(rows, at_once))
    return total / completion_tokens(rows)


def summed_loss(base: Base, rows: Sequence[Row]) -> Float[Tensor, ""]:
    """The negative log-likelihood of all completion tokens of these rows together, in float32."""
    predicted, labels = _predicted(base, rows)
    return functional.cross_entropy(
        predicted.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )


@torch.inference_mode()
def outcomes_by_row(base: Base, rows: Sequence[Row]) -> tuple[Float[Tensor, " rows"], Bool[Tensor, " rows"]]:
    """Of each row log p(completion | prompt) in nats, float32, and whether a greedy answer would be exactly
    the completion: if and only if each of its tokens is the likeliest after those before it.
    """
    predicted, labels = _predicted(base, rows)
    said = labels != IGNORED
    each = predicted.log_softmax(-1).gather(2, labels.masked_fill(~said, 0).unsqueeze(-1)).squeeze(-1)
    right = (predicted.argmax(-1) == labels) | ~said
    return each.masked_fill(~said, 0.0).sum(1), right.all(1)


def _predicted(
    base: Base, rows: Sequence[Row]
) -> tuple[Float[Tensor, "rows kept vocabulary"], Int[Tensor, "rows kept"]]:
    """Logits in float32, and the tokens that they should predict."""
    batch = base.family.batch(base.model, rows, base.device)
    labels = batch.labels
    # from where the first completion is predicted: of long prompts logits are most of the cost
    first = int((labels != IGNORED).any(0).int().argmax())
    kept = labels.shape[1] - first
    trimmed = {"logits_to_keep": kept} if _trims_logits(type(base.model).forward) else {}
    predicted = base.model(**batch.inputs, **trimmed).logits[:, -kept:].float()
    return predicted, labels[:, first:]


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
