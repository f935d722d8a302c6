"""PHATGOOSE gates (arXiv 2402.05859, section 2): when an expert should speak, learnt after it was trained.

At every module that the expert changes, a vector v scales its update by sigmoid(v.x). Base and expert are
frozen; only the gates are trained, with the language-model loss on the expert's own rows. Afterwards the
sigmoid is gone: experts are compared by the directions of their gates alone (see `routing.routers`).
"""

from __future__ import annotations

import contextlib
import hashlib
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import Parameter, functional

from routing.base import Base
from routing.errors import RoutingError
from routing.factors import Factors
from routing.rows import Row

IGNORED = -100
FEWEST_ROWS = 8
Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class GateRecipe:
    """How gates are trained; the paper's settings, with a batch that a small set of rows can fill.

    `batch` rows make one step, `at_once` of them are in memory together. Every `check_every` steps the loss
    on the held-out share of the rows is looked at; after `patience` looks without a better one training ends.
    """

    steps: int = 100
    learning_rate: float = 5e-3
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


@dataclass(frozen=True)
class TrainedGates:
    """Gates of one expert as they were at the best look, how they came about, and what that cost."""

    gates: Mapping[str, Float[Tensor, " d_in"]]
    curve: tuple[Point, ...]
    best_step: int
    rows: int
    seconds: float
    peak_bytes: int


class BadRows(RoutingError):
    """Gates cannot be trained on these rows; the message says why."""


class FrozenChanged(RoutingError):
    """Training gates changed something else: a bug here, and the gates cannot be believed."""


def train_gates(
    base: Base,
    expert: Mapping[str, Factors],
    rows: Sequence[Row],
    *,
    recipe: GateRecipe | None = None,
    progress: Progress = lambda _done, _total, _note: None,
) -> TrainedGates:
    """Train one gate per module of `expert` on `rows`; the base and the expert stay as they are.

    Raises BadRows for too few rows or one that is longer than the base's context.
    """
    recipe = recipe or GateRecipe()
    _require_usable(base, rows)
    training, held_out = _split(rows, recipe)
    gates = {
        name: Parameter(torch.zeros(factors.a.shape[1], device=base.device))
        for name, factors in expert.items()
    }
    before, began = frozen_digest(base, expert), time.monotonic()
    with gated(base, expert, gates):
        curve, best = _fit(base, gates, training, held_out, recipe, progress)
    if frozen_digest(base, expert) != before:
        raise FrozenChanged("the base or the expert is not what it was before its gates were trained")
    return TrainedGates(
        gates=best[1],
        curve=tuple(curve),
        best_step=best[0],
        rows=len(rows),
        seconds=time.monotonic() - began,
        peak_bytes=_peak_bytes(base.device),
    )


def frozen_digest(base: Base, expert: Mapping[str, Factors]) -> str:
    """A digest of every frozen number, from checksums that are computed where the tensors lie."""
    tensors = [*base.model.state_dict().items()]
    tensors += [(f"{name}.{half}", getattr(expert[name], half)) for name in expert for half in ("a", "b")]
    digest = hashlib.sha256()
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {_checksum(tensor)}\n".encode())
    return digest.hexdigest()


def _checksum(tensor: Tensor) -> tuple[int, int]:
    """The sum of the bit patterns, and of their squares, modulo 2^64: no step of an optimizer keeps both."""
    width = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    bits = tensor.detach().contiguous().view(width).flatten()
    first = second = 0
    for part in bits.split(2**24):
        wide = part.long()
        first, second = first + int(wide.sum()), second + int((wide * wide).sum())
    return first % 2**64, second % 2**64


@contextlib.contextmanager
def gated(base: Base, expert: Mapping[str, Factors], gates: Mapping[str, Parameter]) -> Iterator[None]:
    """Let the expert speak at every module as loud as its gate there opens."""
    with contextlib.ExitStack() as hooks:
        for name, factors in expert.items():
            layer = base.model.get_submodule(name)
            hooks.callback(layer.register_forward_hook(_addition(factors, gates[name], base)).remove)
        yield


def _addition(factors: Factors, gate: Parameter, base: Base) -> Callable[[Any, Any, Tensor], Tensor]:
    a, b = factors.a.to(base.device, base.dtype), factors.b.to(base.device, base.dtype)

    def add(_layer: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        x = inputs[0]
        openness = torch.sigmoid(x.float() @ gate).unsqueeze(-1).to(x.dtype)
        return output + openness * ((x @ a.T) @ b.T)

    return add


def _fit(
    base: Base,
    gates: Mapping[str, Parameter],
    training: Sequence[Row],
    held_out: Sequence[Row],
    recipe: GateRecipe,
    progress: Progress,
) -> tuple[list[Point], tuple[int, dict[str, Tensor]]]:
    """The loss curve, and the step and the gates with the lowest loss on held-out rows."""
    optimizer = torch.optim.AdamW(gates.values(), lr=recipe.learning_rate, weight_decay=0.0)
    warm = max(1, round(recipe.steps * recipe.warm_up))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / warm))
    order = _order(len(training), recipe)
    curve = [
        Point(
            0,
            mean_loss(base, training[: recipe.batch], recipe.at_once),
            mean_loss(base, held_out, recipe.at_once),
        )
    ]
    best = (0, _copies(gates))
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
            best = (step, _copies(gates))
        elif step - best[0] >= recipe.patience * recipe.check_every:
            break
    return curve, best


def _step(base: Base, rows: Sequence[Row], recipe: GateRecipe) -> float:
    """Gradients of one effective batch, added up over parts that fit into memory; its mean loss."""
    answers = sum(len(completion) for _, completion in rows)
    total = 0.0
    for start in range(0, len(rows), recipe.at_once):
        loss = _summed_loss(base, rows[start : start + recipe.at_once]) / answers
        loss.backward()
        total += float(loss.detach())
    return total


@torch.no_grad()
def mean_loss(base: Base, rows: Sequence[Row], at_once: int) -> float:
    """Mean negative log-likelihood of the completions, in nats per token, as the base now answers."""
    parts = [rows[start : start + at_once] for start in range(0, len(rows), at_once)]
    total = sum(float(_summed_loss(base, part)) for part in parts)
    return total / sum(len(completion) for _, completion in rows)


def _summed_loss(base: Base, rows: Sequence[Row]) -> Tensor:
    ids, labels = _padded(rows, base.device)
    logits = base.model(input_ids=ids, use_cache=False).logits[:, :-1].float()
    return functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="sum"
    )


def _padded(
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


def _split(rows: Sequence[Row], recipe: GateRecipe) -> tuple[list[Row], list[Row]]:
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(recipe.seed)).tolist()
    held_out = max(1, round(len(rows) * recipe.held_out))
    return [rows[place] for place in order[held_out:]], [rows[place] for place in order[:held_out]]


def _order(count: int, recipe: GateRecipe) -> Iterator[int]:
    """Places of rows, epoch after epoch, each in an order of its own."""
    draw = torch.Generator().manual_seed(recipe.seed + 1)
    while True:
        yield from torch.randperm(count, generator=draw).tolist()


def _require_usable(base: Base, rows: Sequence[Row]) -> None:
    if len(rows) < FEWEST_ROWS:
        raise BadRows(f"gate training: found {len(rows)} rows, expected at least {FEWEST_ROWS}")
    for number, (prompt, completion) in enumerate(rows, 1):
        if not prompt or not completion:
            raise BadRows(f"gate training, row {number}: found an empty prompt or completion")
        if len(prompt) + len(completion) > base.spec.context:
            length = len(prompt) + len(completion)
            raise BadRows(
                f"gate training, row {number}: found {length} tokens, expected at most {base.spec.context}"
            )


def _copies(gates: Mapping[str, Parameter]) -> dict[str, Tensor]:
    return {name: gate.detach().clone().cpu() for name, gate in gates.items()}


def _peak_bytes(device: torch.device) -> int:
    """The most memory in use so far: of the device, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
