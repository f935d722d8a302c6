"""Embeddings that share their weight with a layer laid out in panels: looked up there, not kept twice."""

from __future__ import annotations

from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from routing.panels import PanelLinear, out_of_panels


class PanelEmbedding(nn.Module):
    """The rows of a weight in panels, in float32."""

    def __init__(self, layer: PanelLinear) -> None:
        super().__init__()
        self.panels, self.dtype = layer.panels, layer.dtype
        self.num_embeddings, self.embedding_dim = layer.d_out, layer.panels.shape[1]

    @cached_property
    @torch.inference_mode(mode=False)
    def weight(self) -> Tensor:
        """All rows, for the few who need them: they lie in memory twice then."""
        return out_of_panels(self.panels, self.dtype)[: self.num_embeddings]

    def forward(self, ids: Int[Tensor, "*tokens"]) -> Float[Tensor, "*tokens width"]:
        numbers = torch.from_numpy(self.panels).view(self.dtype)
        width = numbers.shape[2]
        return numbers[ids // width, :, ids % width].float()


def share(model: nn.Module, weight: Tensor, layer: PanelLinear) -> None:
    """Let all embeddings of the model that have this weight, which the layer had, look it up there."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Embedding and module.weight is weight and module.max_norm is None:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, PanelEmbedding(layer))
