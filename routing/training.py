"""Training a few parameters beside a frozen base on rows: effective batches, warm-up, early stop, cost.

What is trained (gates, a LoRA) is put into the base's forward pass by its own module; here it is only fitted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from routing import peak_memory
from routing.base import Base
from routing.completion_loss import completion_tokens, mean_loss, parts_by_length, summed_loss
from routing.errors import RoutingError
from routing.rows import Row

FEWEST_ROWS = 8
Progress = Callable[[int, int, str], None]


class BadRows(RoutingError):
    """Nothing can be trained on these rows; the message says why."""


@dataclass(frozen=True)
class TrainingRecipe:
    """How parameters are fitted: AdamW without decay, a linear warm-up, then a constant rate.

    `batch` rows make one step, `at_once` of them are in memory together. Every `check_every` steps the loss
    on the held-out share of the rows is looked at; after `patience` looks without a better one training ends.
    """

    steps: int
    learning_rate: float
    warm_up: float = 0.06
    batch: int = 32
    at_once: int = 8
    held_out: float = 0.2
    check_every: int = 10
    patience: int = 3
    seed: int = 0


@dataclass(frozen=True)
class Point:
    """A moment of the training: mean losses in nats per token, on the last batches and on held-out rows."""

    step: int
    training: float
    held_out: float


@dataclass(frozen=True, kw_only=True)
class Course:
    """How a training went: its losses, the step whose parameters were kept, and what it cost."""

    curve: tuple[Point, ...]
    best_step: int
    rows: int
    seconds: float
    peak_bytes: int


def silent(_done: int, _total: int, _note: str) -> None:
    """Progress that nobody watches."""


def fit(
    base: Base,
    parameters: Mapping[str, Parameter],
    rows: Sequence[Row],
    recipe: TrainingRecipe,
    progress: Progress = silent,
) -> tuple[dict[str, Tensor], Course]:
    """Copies (on the CPU) of the parameters with the lowest loss on held-out rows, and how that came about.

    The parameters must already act in the base's forward pass. Raises BadRows for too few rows or one that is
    longer than the base's context.
    """
    require_usable(base, rows)
    training, held_out = _split(rows, recipe)
    peak_memory.begin(base.device)
    began = time.monotonic()
    curve, best_step, best = _descend(base, parameters, training, held_out, recipe, progress)
    course = Course(
        curve=tuple(curve),
        best_step=best_step,
        rows=len(rows),
        seconds=time.monotonic() - began,
        peak_bytes=peak_memory.peak_bytes(base.device),
    )
    return best, course


def require_usable(base: Base, rows: Sequence[Row]) -> None:
    """BadRows for too few rows, an empty half, or a row that is longer than the base's context."""
    if len(rows) < FEWEST_ROWS:
        raise BadRows(f"training: found {len(rows)} rows, expected at least {FEWEST_ROWS}")
    for number, (prompt, completion) in enumerate(rows, 1):
        if not prompt or not completion:
            raise BadRows(f"training, row {number}: found an empty prompt or completion")
        length = base.family.length(prompt, completion)
        if length > base.spec.context:
            raise BadRows(
                f"training, row {number}: found {length} tokens, expected at most {base.spec.context}"
            )


def _descend(
    base: Base,
    parameters: Mapping[str, Parameter],
    training: Sequence[Row],
    held_out: Sequence[Row],
    recipe: TrainingRecipe,
    progress: Progress,
) -> tuple[list[Point], int, dict[str, Tensor]]:
    """The loss curve, and the step and the parameters with the lowest loss on held-out rows."""
    optimizer = torch.optim.AdamW(parameters.values(), lr=recipe.learning_rate, weight_decay=0.0)
    warm = max(1, round(recipe.steps * recipe.warm_up))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warm))
    order = _order(len(training), recipe)
    before = mean_loss(base, training[: recipe.batch], recipe.at_once)
    curve = [Point(0, before, mean_loss(base, held_out, recipe.at_once))]
    best_step, best = 0, _copies(parameters)
    lately: list[float] = []
    for step in range(1, recipe.steps + 1):
        lately.append(_step(base, [training[next(order)] for _ in range(recipe.batch)], recipe))
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % recipe.check_every and step != recipe.steps:
            continue
        curve.append(Point(step, sum(lately) / len(lately), mean_loss(base, held_out, recipe.at_once)))
        lately.clear()
        progress(step, recipe.steps, f"loss {curve[-1].held_out:.3f} on held-out rows")
        if curve[-1].held_out < min(point.held_out for point in curve[:-1]):
            best_step, best = step, _copies(parameters)
        elif step - best_step >= recipe.patience * recipe.check_every:
            break
    return curve, best_step, best


def _step(base: Base, rows: Sequence[Row], recipe: TrainingRecipe) -> float:
    """Gradients of one effective batch, added up over parts that fit into memory; its mean loss."""
    answers = completion_tokens(rows)
    total = 0.0
    for part in parts_by_length(rows, recipe.at_once):
        loss = summed_loss(base, part) / answers
        loss.backward()
        total += float(loss.detach())
    return total


def _split(rows: Sequence[Row], recipe: TrainingRecipe) -> tuple[list[Row], list[Row]]:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed)).tolist()
    held_out = max(1, round(len(rows) * recipe.held_out))
    return [rows[place] for place in order[held_out:]], [rows[place] for place in order[:held_out]]


def _order(count: int, recipe: TrainingRecipe) -> Iterator[int]:
    """Places of rows, epoch after epoch, each in an order of its own."""
    draw = torch.Generator().manual_seed(recipe.seed + 1)
    while True:
        yield from torch.randperm(count, generator=draw).tolist()


def _copies(parameters: Mapping[str, Parameter]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone().cpu() for name, parameter in parameters.items()}
