"""This machine's processor taken for a GPU, whose graphs are recorded and replayed by `tests.routing.recorded`."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
import triton.language as tl

from routing import accelerated, graph_trial, triton_attention
from routing.capturing import decoder_for
from routing.mixing import add_dense
from routing.pack import ModulePack
from routing.routed import RoutedModel
from routing.routers import Selection
from routing.routes import Route
from tests.routing.recorded import Kernel, TensorRecorder

CPU = torch.device("cpu")
MOST = 2


class Kernels:
    """Those of a GPU, done by torch, for which Triton's interpreter takes a minute. Its own are tried elsewhere."""

    @staticmethod
    def attend(
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        table: torch.Tensor,
        lengths: torch.Tensor,
        scaling: float,
        window: int | None,
    ) -> torch.Tensor:
        output = query.new_empty(*query.shape[:2], value.shape[2])
        ATTEND.run(output, (query, key, value), (table, lengths), scaling, window)
        return output

    @staticmethod
    def arrow(hidden: torch.Tensor, module: ModulePack, temperature: float, top_k: int) -> Selection:
        scores = (hidden.float() @ module.vectors.prototypes.T).abs()
        return Kernels.choose(scores, temperature, top_k)

    @staticmethod
    def choose(scores: torch.Tensor, temperature: float, top_k: int) -> Selection:
        kept, experts = scores.topk(min(top_k, scores.shape[1]), dim=-1)
        return Selection(experts, (kept / temperature).softmax(-1))

    mix = staticmethod(add_dense)


def _attended(
    output: torch.Tensor,
    asked: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    where: tuple[torch.Tensor, torch.Tensor],
    scaling: float,
    window: int | None,
) -> None:
    """As `routing.triton_attention` does it, where the addresses of the table lead."""
    (query, key, value), (table, lengths) = asked, where
    for answer, (length, places) in enumerate(zip(lengths.tolist(), table.T.tolist(), strict=True)):
        keys, values = _lying_at(places[0], key, places[2]), _lying_at(places[1], value, places[3])
        keys[:, length], values[:, length] = key[answer], value[answer]
        seen = slice(max(0, length + 1 - window) if window else 0, length + 1)
        grouped = query[answer].float().unflatten(0, (len(keys), -1))
        scores = grouped @ keys[:, seen].float().mT * scaling
        output[answer] = (scores.softmax(-1) @ values[:, seen].float()).flatten(0, 1)


def _lying_at(address: int, like: torch.Tensor, room: int) -> torch.Tensor:
    """What lies there [kept heads, room, width], of the numbers that `like` [answers, kept heads, width] has."""
    _, kept, width = like.shape
    memory = (ctypes.c_byte * (kept * room * width * like.itemsize)).from_address(address)
    return torch.frombuffer(memory, dtype=like.dtype).view(kept, room, width)


ATTEND = Kernel(_attended)


@contextmanager
def as_a_gpu() -> Iterator[None]:
    """While this is so, what kernels would do is done by torch; who wants theirs waits for no parts that nobody needs."""
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
