"""PHATGOOSE gates (arXiv 2402.05859, section 2): when an expert should speak, learnt after it was trained.

At every module that the expert changes, a vector v scales its update by sigmoid(v.x). Base and expert are
frozen; only the gates are trained, with the language-model loss on the expert's own rows. Afterwards the
sigmoid is gone: experts are compared by the directions of their gates alone (see `routing.routers`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import Parameter

from routing.base import Base
from routing.factor_tensors import factor_tensors
from routing.factors import Factors
from routing.frozen import unchanged
from routing.frozen_prefix import computed_once
from routing.rows import Row
from routing.scales import added_by
from routing.training import Course, Progress, TrainingRecipe, fit, require_usable, silent
from routing.weights import layers_of


@dataclass(frozen=True)
class GateRecipe(TrainingRecipe):
    """How gates are trained; the paper's settings, with a batch that a small set of rows can fill."""

    steps: int = 100
    learning_rate: float = 5e-3


@dataclass(frozen=True, kw_only=True)
class TrainedGates(Course):
    """Gates of one expert as they were at the best look, how they came about, and what that cost."""

    gates: Mapping[str, Float[Tensor, " d_in"]]


def train_gates(
    base: Base,
    expert: Mapping[str, Factors],
    rows: Sequence[Row],
    *,
    recipe: GateRecipe | None = None,
    progress: Progress = silent,
) -> TrainedGates:
    """Train one gate per module of `expert` on `rows`; the base and the expert stay as they are.

    Raises BadRows for too few rows or one that is longer than the base's context.
    """
    require_usable(base, rows)
    began = time.monotonic()
    gates = {
        name: Parameter(torch.zeros(factors.a.shape[1], device=base.device))
        for name, factors in expert.items()
    }
    with (
        unchanged(base, factor_tensors(expert)),
        computed_once(base, gates, rows),
        gated(base, expert, gates),
    ):
        best, course = fit(base, gates, rows, recipe or GateRecipe(), progress)
    return TrainedGates(gates=best, **{**vars(course), "seconds": time.monotonic() - began})


@contextlib.contextmanager
def gated(base: Base, expert: Mapping[str, Factors], gates: Mapping[str, Parameter]) -> Iterator[None]:
    """Let the expert speak at every module as loud as its gate there opens."""
    with contextlib.ExitStack() as hooks:
        layers = layers_of(base)
        for name, factors in expert.items():
            added = added_by(factors.a, factors.b, factors.scales, layers(name).weight)
            layer = base.model.get_submodule(name)
            hooks.callback(layer.register_forward_hook(_addition(added, gates[name])).remove)
        yield


def _addition(
    added: Callable[[Tensor, Tensor], Tensor], gate: Parameter
) -> Callable[[Any, Any, Tensor], Tensor]:
    def add(_layer: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        x = inputs[0]
        openness = torch.sigmoid(x.float() @ gate).unsqueeze(-1).to(x.dtype)
        return output + openness * added(x, output)

    return add
