"""Training one ordinary LoRA (arXiv 2106.09685) on rows, with the base frozen and without peft.

A starts with PEFT's small random numbers, B at zero, so that training begins at the base itself. What comes
out is an adapter like an uploaded one: it can be validated, routed, or written as a PEFT folder.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from routing.adapter import Adapter, LowRank
from routing.base import Base
from routing.errors import RoutingError
from routing.frozen import unchanged
from routing.rows import Row
from routing.spec import BaseSpec, TargetModule
from routing.training import Course, Progress, TrainingRecipe, fit, silent


@dataclass(frozen=True)
class LoraRecipe(TrainingRecipe):
    """How one LoRA is trained; its scaling is alpha / rank.

    `targets` are names of modules or ends of names, as in PEFT; none mean every target module of the base.
    """

    steps: int = 300
    learning_rate: float = 2e-3
    patience: int = 5
    rank: int = 8
    alpha: float = 16.0
    targets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TrainedLora(Course):
    """The adapter as it was at the best look, how it came about, and what that cost.

    A `best_step` of 0 says that nothing was better on held-out rows than the base: the adapter is zero.
    """

    adapter: Adapter


class UnknownTarget(RoutingError):
    """The base has no target module of this name."""


def train_lora(
    base: Base, rows: Sequence[Row], *, recipe: LoraRecipe | None = None, progress: Progress = silent
) -> TrainedLora:
    """Train one LoRA on `rows`; the base stays as it is, which is asserted by digest.

    Raises BadRows for unusable rows, UnknownTarget for a target that the base does not have. Equal base, rows
    and recipe give an equal adapter on one machine.
    """
    recipe = recipe or LoraRecipe()
    modules = targeted(base.spec, recipe.targets)
    halves = _start(modules, recipe, base.device)
    scaling = recipe.alpha / recipe.rank
    with unchanged(base, {}), trainable(base, halves, scaling):
        best, course = fit(base, halves, rows, recipe, progress)
    adapter = Adapter(
        {
            module.name: LowRank(
                best[f"{module.name}.a"], best[f"{module.name}.b"], recipe.alpha / recipe.rank
            )
            for module in modules
        }
    )
    return TrainedLora(adapter=adapter, **vars(course))


def targeted(spec: BaseSpec, targets: Sequence[str]) -> list[TargetModule]:
    """The modules of the base that these names mean, in its order; UnknownTarget for those without any."""
    meant = {
        target: [
            module
            for module in spec.target_modules
            if module.name == target or module.name.endswith(f".{target}")
        ]
        for target in targets
    }
    if missing := [target for target, modules in meant.items() if not modules]:
        kinds = sorted({module.name.rpartition(".")[2] for module in spec.target_modules})
        raise UnknownTarget(f"targets: found {', '.join(missing)}, expected some of {', '.join(kinds)}")
    chosen = {module.name for modules in meant.values() for module in modules}
    return [module for module in spec.target_modules if not targets or module.name in chosen]


def _start(modules: Sequence[TargetModule], recipe: LoraRecipe, device: torch.device) -> dict[str, Parameter]:
    """A uniform in +-1/sqrt(d_in), as PEFT starts it; drawn on the CPU, so that a seed means one start."""
    draw = torch.Generator().manual_seed(recipe.seed)
    halves = {}
    for module in modules:
        reach = 1.0 / math.sqrt(module.d_in)
        a = (torch.rand(recipe.rank, module.d_in, generator=draw) * 2 - 1) * reach
        halves[f"{module.name}.a"] = Parameter(a.to(device))
        halves[f"{module.name}.b"] = Parameter(torch.zeros(module.d_out, recipe.rank, device=device))
    return halves


@contextlib.contextmanager
def trainable(base: Base, halves: Mapping[str, Tensor], scaling: float) -> Iterator[None]:
    """Add scaling x B A to the output of every module that `halves` names (as `name.a` and `name.b`)."""
    names = [key.removesuffix(".a") for key in halves if key.endswith(".a")]
    with contextlib.ExitStack() as hooks:
        for name in names:
            layer = base.model.get_submodule(name)
            hook = _addition(halves[f"{name}.a"], halves[f"{name}.b"], scaling)
            hooks.callback(layer.register_forward_hook(hook).remove)
        yield


def _addition(a: Tensor, b: Tensor, scaling: float) -> Callable[[Any, Any, Tensor], Tensor]:
    def add(_layer: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """In the parameters' float32, whatever the base computes in: steps are smaller than bfloat16 sees."""
        update = scaling * ((inputs[0].float() @ a.T) @ b.T)
        return output + update.to(output.dtype)

    return add
