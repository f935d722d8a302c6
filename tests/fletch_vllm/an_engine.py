"""As much of vLLM as the plugin is told of, for tests without it: modules by their names, and a backend.

What vLLM itself does with the plugin is compared by `make vllm`, where it is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModel

OURS = ("fletch_vllm.plugin", "fletch_vllm.model")  # import vLLM, so nobody else here can have imported them


class Registry:
    """Architectures by name."""

    known: dict[str, str]

    @classmethod
    def register_model(cls, name: str, where: str) -> None:
        cls.known[name] = where


class Exchanged(nn.Linear):
    """What a linear layer is exchanged for."""


class ColumnParallelLinear(Exchanged):
    gather_output = False


class RowParallelLinear(Exchanged):
    input_is_parallel = True
    reduce_results = True
    tp_size = 1


class Backend(nn.Module):
    """A model of transformers whose linear layers are exchanged when it is made, and filled afterwards."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:  # noqa: ARG002 - vLLM's signature
        super().__init__()
        self.model_config = vllm_config.model_config
        self.device_config = SimpleNamespace(device="cpu")
        self.tp_group = SimpleNamespace(rank_in_group=0, world_size=1)
        self.model: Any = AutoModel.from_config(vllm_config.model_config.hf_config)
        self.lm_head: Tensor | None = None
        self.recursive_replace()

    def recursive_replace(self) -> None:
        for name, layer in list(self.model.named_modules()):
            if isinstance(layer, nn.Linear):
                made = Exchanged(layer.in_features, layer.out_features, bias=layer.bias is not None)
                self.model.set_submodule(name, made)

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        loaded = set()
        for name, tensor in weights:
            if name == "lm_head.weight":
                self.lm_head = tensor
            else:
                self.model.get_parameter(name.removeprefix("model.")).data.copy_(tensor)
            loaded.add(name)
        return loaded

    def logits(self, tokens: Iterable[int]) -> Tensor:
        assert self.lm_head is not None
        with torch.inference_mode():
            hidden = self.model(torch.tensor([list(tokens)])).last_hidden_state[0]
            return hidden @ self.lm_head.T


@contextmanager
def vllm() -> Iterator[type[Registry]]:
    """While this is so, the plugin finds these modules; the registry has nothing in it yet."""
    Registry.known = {}
    there: dict[str, dict[str, Any]] = {
        "vllm": {"ModelRegistry": Registry},
        "vllm.config": {"VllmConfig": object},
        "vllm.distributed": {
            "tensor_model_parallel_all_gather": lambda x: x,
            "tensor_model_parallel_all_reduce": lambda x: x,
        },
        "vllm.model_executor": {},
        "vllm.model_executor.layers": {},
        "vllm.model_executor.layers.linear": {
            "ColumnParallelLinear": ColumnParallelLinear,
            "RowParallelLinear": RowParallelLinear,
        },
        "vllm.model_executor.models": {},
        "vllm.model_executor.models.transformers": {"TransformersForCausalLM": Backend},
    }
    for name, has in there.items():
        sys.modules[name] = ModuleType(name)
        vars(sys.modules[name]).update(has)
    try:
        yield Registry
    finally:
        for name in (*there, *OURS):
            sys.modules.pop(name, None)
