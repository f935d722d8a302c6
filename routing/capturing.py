"""Capturing: CUDA graphs of the steps of one route, and their trial before anybody is answered by them.

On the thread that loads an index version, while others are answered: so what this thread does is captured and
only its mistakes count (`thread_local`), on a stream of its own, into memory that no other version shares.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from routing import accelerated
from routing.few_tokens import ARROW
from routing.graphs import Decoder, Graph, Made
from routing.ragged import Strand
from routing.ragged_trial import COARSE, TOLERANCE
from routing.routed import RoutedModel
from routing.routes import Route
from routing.static_step import StaticStep, StepInputs
from routing.together import Heard, Reading, read_together
from routing.traces import Record, Widths

log = logging.getLogger(__name__)
MOST = 64  # answers at once: beyond, a step has enough to compute
TRIED_STEPS = 2  # so that what the first one keeps is read by the second
TRIED_TOKENS = 600  # of the longest text, which is attended to in several parts
SHARES_OFF = 0.1  # of all weight, that rounding may give to other experts


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
    most: int = MOST,
    told: Callable[[], None] = lambda: None,
    recorder: Callable[[torch.device], Recorder] = CudaRecorder,
) -> Decoder | None:
    """Graphs for up to `most` answers of this route (None: the plain base), for a model that is `on_gpu`.

    None, and a line in the log, where there can be none. `told` hears of each replay.
    """
    instead = f"{model.base.spec.name}: answers are decoded without CUDA graphs"
    reason = _ruled_out(model, route)
    if reason:
        log.info("%s: %s", instead, reason)
        return None
    try:
        found = captured(model, route, most=most, recorder=recorder(_device(model)))
        _try(model, route, found)
    except Exception as error:  # noqa: BLE001 - whatever a driver does not like, there is the plain way
        log.warning("%s, which is slower: %s: %s", instead, type(error).__name__, error)
        return None
    return replace(found, told=told)


@torch.inference_mode()
def captured(model: RoutedModel, route: Route | None, *, most: int, recorder: Recorder) -> Decoder:
    """Graphs of this route (None: the plain base) as they were captured, untried."""
    kernels = _kernels(model)
    graphs: dict[int, Graph] = {}
    widths: Widths = ()
    for capacity in reversed(list(capacities(most))):
        inputs = StepInputs(model, capacity)
        step = StaticStep(model, route, inputs, kernels)
        replay, made = recorder.record(step)
        graphs[capacity], widths = Graph(inputs.fill, replay, made), step.widths
    return Decoder(graphs, widths, recorder.size)


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


def _ruled_out(model: RoutedModel, route: Route | None) -> str:
    if not model.reads_together:
        return "it does not read several together"
    if model.base.places is not None:
        return "the base is spread over devices"
    if route is not None and (route.stay is not None or route.pack.bare):
        return "experts are read when they are wanted"
    if route is not None and not _by_arrow_alone(route):
        return "tokens are not routed by Arrow alone"
    if _kernels(model) is None:
        return "the kernels that they would be made of cannot be used"
    return ""


def _by_arrow_alone(route: Route) -> bool:
    plain = all(seat.plain for seat in route.seats.values())
    return route.router is ARROW and route.rule is not None and plain


@torch.inference_mode()
def _try(model: RoutedModel, route: Route | None, decoder: Decoder) -> None:
    """Go on with short texts by each graph and without; ArithmeticError where that differs."""
    pack = None if route is None else route.pack
    spec = model.base.spec
    longest = min(TRIED_TOKENS, spec.context - TRIED_STEPS)
    for capacity in decoder.graphs:
        count = capacity // 2 + 1  # the fewest for whom this one is taken
        lengths = [longest, *(2 + place % 5 for place in range(1, count))]
        texts = [
            [(place + token) % spec.vocabulary for token in range(one)] for place, one in enumerate(lengths)
        ]
        ours = [Strand() for _ in texts]
        _read(model, route, texts, ours)
        theirs = [strand.beginning(strand.length) for strand in ours]
        for step in range(TRIED_STEPS):
            tokens = [text[step] for text in texts]
            found, record = decoder.step(tokens, ours, pack)
            heard = _read(model, route, [[token] for token in tokens], theirs)
            wanted, known = torch.cat([one.logits for one in heard]), heard[0].record
            _compare(f"{count} answers", found, wanted, TOLERANCE.get(model.base.dtype, COARSE))
            if record is not None and known is not None and known.modules:
                mine, its = (_shares(one) for one in (record, known))
                _compare(f"shares of {count} answers' experts", mine, its, SHARES_OFF)


def _read(
    model: RoutedModel, route: Route | None, texts: Sequence[Sequence[int]], strands: Sequence[Strand]
) -> list[Heard]:
    """A pass without graphs."""
    pairs = zip(texts, strands, strict=True)
    return read_together(model, [Reading(tuple(text), strand, route) for text, strand in pairs])


def _shares(record: Record) -> Float[Tensor, " experts"]:
    """The weight that each expert was given, of what was given in all."""
    said, experts = record.side_by_side, len(record.pack.experts)
    weights = torch.bincount(said.experts.flatten(), said.weights.flatten().double(), minlength=experts)
    return weights / weights.sum().clamp_min(torch.finfo(torch.float64).tiny)


def _compare(what: str, found: Tensor, wanted: Tensor, tolerance: float) -> None:
    off, largest = float((found - wanted).abs().max()), float(wanted.abs().max())
    if not off <= tolerance * largest:  # NaN is not
        raise ArithmeticError(f"{what}: off by {off:.2g} where the largest number is {largest:.2g}")
