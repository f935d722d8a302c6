"""peft's Arrow over the same experts and the same prototypes as a pack of ours."""

from __future__ import annotations

from typing import Any

import torch
from peft import ArrowConfig, LoraConfig, get_peft_model
from torch import nn

from routing.pack import ModulePack, Pack

ROUTER = "arrow_router"


def peft_arrow(model: nn.Module, pack: Pack, *, rank: int, top_k: int) -> nn.Module:
    """The model under peft's Arrow.

    The experts are put in place directly: loading them one by one takes peft minutes at 256 and is not what is
    measured. So are the prototypes, which peft approximates from a random start.
    """
    tasks = [f"task_{place}" for place in range(len(pack.experts))]
    arrow = ArrowConfig(top_k=top_k, router_temperature=1.0)
    arrow.task_adapter_names = tasks
    arrow.gks_adapter_names = []
    config = LoraConfig(r=rank, target_modules=list(pack.modules), arrow_config=arrow)
    adapted: Any = get_peft_model(model, config, adapter_name=ROUTER)
    for name, module in pack.modules.items():
        _fill(adapted.base_model.model.get_submodule(name), module, tasks)
    return adapted.eval().requires_grad_(requires_grad=False)


def _fill(layer: Any, module: ModulePack, tasks: list[str]) -> None:
    for row, task in enumerate(tasks):
        update = module.update(row)
        layer.lora_A[task] = _linear(update.a)
        layer.lora_B[task] = _linear(update.b.T.contiguous())
        layer.scaling[task] = 1.0
    arrow = layer.lora_arrow[ROUTER]
    arrow.task_adapter_names = list(tasks)
    arrow.register_buffer("prototypes", module.vectors.prototypes, persistent=False)
    arrow._protos_ready = True  # noqa: SLF001 - there is no public way to give peft its prototypes


def _linear(weight: torch.Tensor) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight, requires_grad=False)
    return linear
