"""This machine's processor taken for a GPU, whose graphs are recorded and replayed by `tests.routing.recorded`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import triton.language as tl

from routing import accelerated, graph_trial, triton_attention, triton_calls
from routing.capturing import decoder_for
from routing.mixing import add_dense
from routing.pack import ModulePack
from routing.routed import RoutedModel
from routing.routers import Selection
from routing.routes import Route
from tests.routing.recorded import TensorRecorder

CPU = torch.device("cpu")
MOST = 2


class Kernels:
    """Those of a GPU; experts are chosen and mixed by torch, for which the interpreter takes a minute."""

    attend = staticmethod(triton_calls.attend)

    @staticmethod
    def arrow(hidden: torch.Tensor, module: ModulePack, temperature: float, top_k: int) -> Selection:
        scores = (hidden.float() @ module.vectors.prototypes.T).abs()
        return Kernels.choose(scores, temperature, top_k)

    @staticmethod
    def choose(scores: torch.Tensor, temperature: float, top_k: int) -> Selection:
        kept, experts = scores.topk(min(top_k, scores.shape[1]), dim=-1)
        return Selection(experts, (kept / temperature).softmax(-1))

    mix = staticmethod(add_dense)


@contextmanager
def as_a_gpu() -> Iterator[None]:
    """While this is so, attention runs in Triton's interpreter and experts are mixed by torch."""
    with (
        patch.object(accelerated, "DEVICE", "cpu"),
        patch.object(accelerated, "kernels", lambda *_: Kernels),
        patch.object(triton_attention, "PARTS", tl.constexpr(2)),
        patch.object(graph_trial, "TRIED_TOKENS", 20),
    ):
        yield


Replays = list[None]


def with_graphs(
    model: RoutedModel, way: Route, recorder: Any = TensorRecorder, *, slots: int = 0, most: int = MOST
) -> Replays:
    """Captures graphs of this route; the list has an entry for each replay since."""
    replays: Replays = []
    decoder = decoder_for(
        model, way, slots=slots, most=most, told=lambda: replays.append(None), recorder=recorder
    )
    if decoder is not None:
        model.graphs.keep(way, decoder)
    assert not replays  # those of its trial are not told
    return replays
