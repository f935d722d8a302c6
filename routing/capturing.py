"""Capturing: CUDA graphs of an index version's steps, and their trial before anybody is answered by them.

On the thread that loads an index version, while others are answered: so what this thread does is captured and
only its mistakes count (`thread_local`), on a stream of its own, into memory that no other version shares.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import torch

from routing import accelerated
from routing.few_tokens import ARROW
from routing.graph_trial import try_graphs
from routing.graphs import Decoder, Graph, Made
from routing.routed import RoutedModel
from routing.routes import Route
from routing.static_step import Choices, StaticStep, StepInputs
from routing.traces import Widths

log = logging.getLogger(__name__)
MOST = 64  # answers at once: beyond, a step has enough to compute


class Recorder(Protocol):
    """Makes steps that can be replayed."""

    def record(self, step: Callable[[], Made]) -> tuple[Callable[[], None], Made]:
        """How to replay it, and what it makes, which is written anew by each replay."""

    @property
    def size(self) -> int:
        """Bytes that the recorded steps take."""


class CudaRecorder:
    """Records on a GPU. The largest step should come first: the others then have room in its memory."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    def record(self, step: Callable[[], Made]) -> tuple[Callable[[], None], Made]:
        """It runs once before, which compiles what it needs."""
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.stream(self._stream):  # and back, where torch stays on it after a capture failed
                step()
                with torch.cuda.graph(
                    graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
                ):
                    made = step()
            torch.cuda.current_stream().wait_stream(self._stream)
        return graph.replay, made

    @property
    def size(self) -> int:
        """What torch has set aside for them; what the driver keeps of each graph is not known."""
        return sum(int(part["total_size"]) for part in torch.cuda.memory_snapshot(self._pool))


def on_gpu(model: RoutedModel) -> bool:
    """Whether graphs can be spoken of at all."""
    return model.base.device.type == accelerated.DEVICE


def decoder_for(
    model: RoutedModel,
    route: Route | None,
    *,
    slots: int = 0,
    most: int = MOST,
    told: Callable[[], None] = lambda: None,
    recorder: Callable[[torch.device], Recorder] = CudaRecorder,
) -> Decoder | None:
    """Graphs for up to `most` answers of this route (None: the plain base), for a model that is `on_gpu`.

    With `slots` they are for any answers through the route's pack that have a fixed choice of up to so many
    experts each, and for the plain base beside them; the route then has a seat wherever one may speak. None,
    and a line in the log, where there can be none. `told` hears of each replay.
    """
    instead = f"{model.base.spec.name}: answers are decoded without CUDA graphs"
    reason = _ruled_out(model, route, slots)
    if reason:
        log.info("%s: %s", instead, reason)
        return None
    try:
        found = captured(model, route, slots=slots, most=most, recorder=recorder(_device(model)))
        try_graphs(model, route, found)
    except Exception as error:  # noqa: BLE001 - whatever a driver does not like, there is the plain way
        log.warning("%s, which is slower: %s: %s", instead, type(error).__name__, error)
        return None
    return replace(found, told=told)


@torch.inference_mode()
def captured(
    model: RoutedModel, route: Route | None, *, slots: int = 0, most: int, recorder: Recorder
) -> Decoder:
    """Graphs as `decoder_for` has them, as they were captured, untried."""
    kernels = _kernels(model)
    graphs: dict[int, Graph] = {}
    widths: Widths = ()
    for capacity in reversed(list(capacities(most))):
        choices = None
        if route is not None and slots:
            choices = Choices(list(route.pack.modules), capacity, slots, _device(model))
        inputs = StepInputs(model, capacity, choices)
        step = StaticStep(model, route, inputs, kernels)
        replay, made = recorder.record(step)
        graphs[capacity], widths = Graph(inputs.fill, replay, made), step.widths
    return Decoder(graphs, widths, recorder.size, slots=slots)


def capacities(most: int) -> Iterator[int]:
    """For how many answers there are graphs: powers of two, until `most` fit into one; at most `MOST`."""
    capacity = 1
    yield capacity
    while capacity < min(most, MOST):
        capacity *= 2
        yield capacity


def _device(model: RoutedModel) -> torch.device:
    """With its number, which an operator need not say."""
    return torch.empty(0, device=model.base.device).device


def _kernels(model: RoutedModel) -> Any | None:
    return accelerated.kernels(_device(model), model.base.dtype)


def _ruled_out(model: RoutedModel, route: Route | None, slots: int) -> str:
    if not model.reads_together:
        return "it does not read several together"
    if model.base.places is not None:
        return "the base is spread over devices"
    if route is not None and (route.stay is not None or route.pack.bare):
        return "experts are read when they are wanted"
    if route is not None and (reason := _not_static(route, slots)):
        return reason
    if _kernels(model) is None:
        return "the kernels that they would be made of cannot be used"
    return ""


def _not_static(route: Route, slots: int) -> str:
    """Why what its experts do cannot be said by buffers and kernels alone, if so."""
    if slots:
        alike = all(seat.alike for seat in route.seats.values())
        return "" if alike else "some experts work through the base's own weights"
    if _by_arrow_alone(route):
        return ""
    return "tokens are routed neither by Arrow alone nor by a few experts of their prompt"


def _by_arrow_alone(route: Route) -> bool:
    plain = all(seat.plain for seat in route.seats.values())
    return route.router is ARROW and route.rule is not None and plain
