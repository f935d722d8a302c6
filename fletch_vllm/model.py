"""The architecture that vLLM serves: a base by its Transformers backend, with experts at its target modules.

Every target module is put inside a layer of ours before the backend exchanges linear layers for its own, so
that each is exchanged alone, cut by the base's tensor-parallel plan, and not fused with its neighbours: q, k
and v choose experts each for itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from vllm.config import VllmConfig
from vllm.distributed import tensor_model_parallel_all_gather, tensor_model_parallel_all_reduce
from vllm.model_executor.layers.linear import ColumnParallelLinear, RowParallelLinear
from vllm.model_executor.models.transformers import TransformersForCausalLM

from fletch_vllm.engine import refuse
from fletch_vllm.layer import RoutedLayer, SplitInputLayer
from fletch_vllm.mixture import Placed, clear, place
from fletch_vllm.parts import Part, cut_input, cut_output, moved
from fletch_vllm.served import Served, read_served
from fletch_vllm.wishes import FIELD, parse
from routing.routers import Router
from routing.routes import Seat


class FletchForCausalLM(TransformersForCausalLM):
    """A composed checkpoint's `base` folder, whose experts lie beside it."""

    def __init__(self, *, vllm_config: VllmConfig, prefix: str = "") -> None:
        refuse(vllm_config)
        model = vllm_config.model_config
        said = parse(getattr(model.hf_config, FIELD, None))
        # nn.Module's constructor comes later and clears the attributes that it knows
        self.__dict__["served"] = read_served(Path(model.model).resolve().parent, said)
        super().__init__(vllm_config=vllm_config, prefix=prefix)

    def recursive_replace(self) -> None:
        """Wrap the target modules, let the backend exchange what is inside, and fit each to that."""
        for name, path in self.targets():
            parent, _, attribute = path.rpartition(".")
            layer = RoutedLayer(name, self.model.get_submodule(path))
            setattr(self.model.get_submodule(parent), attribute, layer)
        super().recursive_replace()
        for name, path in self.targets():
            parent, _, attribute = path.rpartition(".")
            base_layer = self.model.get_submodule(path).base_layer
            setattr(self.model.get_submodule(parent), attribute, routed(name, base_layer))

    def load_weights(self, weights: Iterable[tuple[str, Tensor]]) -> set[str]:
        """The base's weights under the names that they have now, then the experts."""
        loaded = super().load_weights(self.renamed(weights))
        self.place_experts()
        return loaded

    def targets(self) -> Iterator[tuple[str, str]]:
        """Each target module by the name that experts know, and by its path in the backend's model."""
        prefix = f"{self.model.base_model_prefix}."
        for module in self.served.spec.target_modules:
            yield module.name, module.name.removeprefix(prefix)

    def renamed(self, weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
        """Weights of wrapped layers one step further inside."""
        prefix = f"{self.model.base_model_prefix}."
        wrapped = {path for _, path in self.targets()}
        for name, tensor in weights:
            module, _, leaf = name.rpartition(".")
            inside = module.removeprefix(prefix) in wrapped
            yield (f"{module}.base_layer.{leaf}" if inside else name), tensor

    def place_experts(self) -> None:
        """Read the experts, keep this process' part of them, and give each layer its own."""
        served: Served = self.served
        clear()
        way = served.route(self.model_config.dtype)
        part = Part(self.tp_group.rank_in_group, self.tp_group.world_size)
        for name, path in self.targets():
            seat = way.seats.get(name)
            if seat is not None:
                layer = self.model.get_submodule(path).base_layer
                mine = cut(seat, way.router, layer, part)
                place(name, Placed(moved(mine, torch.device(self.device_config.device)), way.router))


def routed(name: str, base_layer: nn.Module) -> RoutedLayer:
    """A layer of the backend's with experts, as it is cut."""
    if not _reads_a_part(base_layer):
        return RoutedLayer(name, base_layer)
    base_layer.reduce_results = False  # type: ignore[assignment]
    return SplitInputLayer(
        name,
        base_layer,
        gather=tensor_model_parallel_all_gather,
        reduce=tensor_model_parallel_all_reduce,
    )


def cut(seat: Seat, router: Router, base_layer: nn.Module, part: Part) -> Seat:
    """The experts at a layer as that is cut."""
    if part.size == 1:
        return seat
    if _reads_a_part(base_layer):
        return cut_input(seat, router, part)
    if isinstance(base_layer, ColumnParallelLinear) and not base_layer.gather_output:
        return cut_output(seat, router, part)
    return seat


def _reads_a_part(base_layer: nn.Module) -> bool:
    return (
        isinstance(base_layer, RowParallelLinear)
        and base_layer.input_is_parallel
        and int(base_layer.tp_size) > 1
    )
