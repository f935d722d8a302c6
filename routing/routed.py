"""A base model whose target modules can be routed: wrapped once, plain until a pass names its route."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.pytorch_utils import Conv1D

from routing.base import Base
from routing.layers import RoutedLinear, Witness, routed_by
from routing.routes import Route


class RoutedModel:
    """One copy of a base's weights, through which any number of index versions can be routed side by side."""

    def __init__(self, base: Base) -> None:
        self.base = base
        for module in base.spec.target_modules:
            _wrap(base.model, module.name)
        self._trims_logits = "logits_to_keep" in inspect.signature(base.model.forward).parameters

    def new_cache(self) -> DynamicCache:
        """An empty key-value cache. It is valid for one route only: keys depend on what was added to them."""
        return DynamicCache(config=self.base.model.config)

    @torch.inference_mode()
    def logits(
        self,
        ids: Int[Tensor, "batch tokens"],
        *,
        route: Route | None = None,
        cache: DynamicCache | None = None,
        attention_mask: Int[Tensor, "batch seen"] | None = None,
        witness: Witness | None = None,
    ) -> Float[Tensor, "batch tokens vocabulary"]:
        """Logits at every position; None as route is the plain base. `cache` is extended by `ids`."""
        return self._forward(ids, route, witness, past_key_values=cache, attention_mask=attention_mask)

    @torch.inference_mode()
    def last_logits(
        self,
        ids: Int[Tensor, "batch tokens"],
        *,
        route: Route | None = None,
        cache: DynamicCache | None = None,
        witness: Witness | None = None,
    ) -> Float[Tensor, "batch 1 vocabulary"]:
        """Logits at the last position alone, without the cost of the others where the architecture allows."""
        trimmed = {"logits_to_keep": 1} if self._trims_logits else {}
        return self._forward(ids, route, witness, past_key_values=cache, **trimmed)[:, -1:]

    def _forward(
        self, ids: Int[Tensor, "batch tokens"], route: Route | None, witness: Witness | None, **options: Any
    ) -> Tensor:
        with routed_by(route, witness):
            answer = self.base.model(
                input_ids=ids, use_cache=options["past_key_values"] is not None, **options
            )
        logits: Tensor = answer.logits
        return logits.float()


def _wrap(model: nn.Module, name: str) -> None:
    """Put a routed layer in the place of the named layer, once."""
    parent, _, attribute = name.rpartition(".")
    layer = model.get_submodule(name)
    if isinstance(layer, nn.Linear | Conv1D):
        setattr(model.get_submodule(parent), attribute, RoutedLinear(name, layer))
