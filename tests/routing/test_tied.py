"""An embedding and a head of one weight keep it once, and say what they said."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

from routing.laying_out import lay_out
from routing.layouts import Layout, Wanted
from routing.panels import PanelLinear
from routing.tied import PanelEmbedding


class Tied(nn.Module):
    """A head that is one of two embeddings' weight, turned round."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.others = nn.Embedding(70, 12), nn.Embedding(70, 12)
        self.words.weight.data = self.words.weight.data.bfloat16().float()
        self.head = nn.Linear(12, 70, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.words(ids)) + self.others(ids).sum()


@pytest.mark.parametrize("layout", ["panels", "halves"])
@torch.inference_mode()
def test_one_weight_lies_in_memory_once(layout: Layout) -> None:
    model, ids = Tied().requires_grad_(requires_grad=False), torch.randint(70, (2, 5))
    said, rows, weight = model(ids), model.words(ids), weakref.ref(model.words.weight)

    lay_out(model, Wanted(layout))
    gc.collect()

    assert weight() is None
    words, head = model.get_submodule("words"), model.get_submodule("head")
    assert isinstance(words, PanelEmbedding)
    assert isinstance(head, PanelLinear)
    assert words.panels is head.panels
    assert torch.equal(model.words(ids), rows)
    assert torch.equal(model.words.weight[ids], rows)
    torch.testing.assert_close(model(ids), said)
    assert isinstance(model.others, nn.Embedding)


def test_where_the_head_is_stored_or_onednn_s_the_embedding_is_as_it_was() -> None:
    for layout in ("stored", "onednn"):
        lay_out(model := Tied(), Wanted(layout))

        assert isinstance(model.words, nn.Embedding)
