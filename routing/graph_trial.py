"""Whether CUDA graphs decode as passes do: tried before anybody is answered by them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from routing.fixed_routes import tried_routes
from routing.graphs import Decoder
from routing.ragged import Strand
from routing.ragged_trial import COARSE, TOLERANCE
from routing.routed import RoutedModel
from routing.routes import Route
from routing.together import Heard, Reading, read_together
from routing.traces import Record

TRIED_STEPS = 2  # so that what the first one keeps is read by the second
TRIED_TOKENS = 600  # of the longest text, which is attended to in several parts
SHARES_OFF = 0.1  # of all weight, that rounding may give to other experts

Routes = Sequence[Route | None]


@torch.inference_mode()
def try_graphs(model: RoutedModel, route: Route | None, decoder: Decoder) -> None:
    """Go on with short texts by each graph and without; ArithmeticError where that differs."""
    ways: Routes = [route]
    if route is not None and decoder.slots:
        ways = tried_routes(route.pack, decoder.slots)
    spec = model.base.spec
    longest = min(TRIED_TOKENS, spec.context - TRIED_STEPS - 1)
    for capacity in decoder.graphs:
        count = capacity // 2 + 1  # the fewest for whom this one is taken
        lengths = [longest, *(2 + place % 5 for place in range(1, count))]
        texts = [
            [(place + token) % spec.vocabulary for token in range(one)] for place, one in enumerate(lengths)
        ]
        ours = [Strand() for _ in texts]
        _read(model, _turned(ways, 0, count), texts, ours)
        theirs = [strand.beginning(strand.length) for strand in ours]
        for step in range(TRIED_STEPS):
            _go_on(model, decoder, _turned(ways, 0, count), [text[step] for text in texts], ours, theirs)
        if decoder.slots:
            _try_choices(decoder, ways, ours)


def _go_on(
    model: RoutedModel,
    decoder: Decoder,
    routes: Routes,
    tokens: Sequence[int],
    ours: Sequence[Strand],
    theirs: Sequence[Strand],
) -> None:
    """One more token each, by graphs and by passes."""
    found, record = _step(decoder, routes, tokens, ours)
    heard = _read(model, routes, [[token] for token in tokens], theirs)
    wanted, known = torch.cat([one.logits for one in heard]), heard[0].record
    tolerance = TOLERANCE.get(model.base.dtype, COARSE)
    _compare(f"{len(tokens)} answers", found, wanted, tolerance)
    if record is not None and known is not None and known.modules:
        mine, its = (_shares(one) for one in (record, known))
        _compare(f"shares of {len(tokens)} answers' experts", mine, its, SHARES_OFF)


def _try_choices(decoder: Decoder, ways: Routes, strands: Sequence[Strand]) -> None:
    """That a replay hears who speaks: what an expert adds may be less than what half precision rounds."""
    first: Tensor | None = None
    for turn in range(len(ways)):
        found, _ = _step(decoder, _turned(ways, turn, len(strands)), [0] * len(strands), strands)
        for strand in strands:
            strand.length -= 1  # and the same token again
        if first is not None and not torch.equal(found, first):
            return
        first = found
    raise ArithmeticError(f"{len(strands)} answers: whoever speaks, the logits are the same")


def _turned(ways: Routes, turn: int, count: int) -> Routes:
    """So many of them, in turn, from one of them on."""
    return [ways[(turn + place) % len(ways)] for place in range(count)]


def _step(
    decoder: Decoder, routes: Routes, tokens: Sequence[int], strands: Sequence[Strand]
) -> tuple[Float[Tensor, "answers vocabulary"], Record | None]:
    """A step by graphs."""
    if decoder.slots:
        fixed = [None if route is None else route.fixed for route in routes]
        return decoder.step(tokens, strands, None, fixed)
    return decoder.step(tokens, strands, None if routes[0] is None else routes[0].pack)


def _read(
    model: RoutedModel,
    routes: Routes,
    texts: Sequence[Sequence[int]],
    strands: Sequence[Strand],
) -> list[Heard]:
    """A pass without graphs."""
    each = zip(texts, strands, routes, strict=True)
    return read_together(model, [Reading(tuple(text), strand, route) for text, strand, route in each])


def _shares(record: Record) -> Float[Tensor, " experts"]:
    """The weight that each expert was given, of what was given in all."""
    said, experts = record.side_by_side, len(record.pack.experts)
    weights = torch.bincount(said.experts.flatten(), said.weights.flatten().double(), minlength=experts)
    return weights / weights.sum().clamp_min(torch.finfo(torch.float64).tiny)


def _compare(what: str, found: Tensor, wanted: Tensor, tolerance: float) -> None:
    off, largest = float((found - wanted).abs().max()), float(wanted.abs().max())
    if not off <= tolerance * largest:  # NaN is not
        raise ArithmeticError(f"{what}: off by {off:.2g} where the largest number is {largest:.2g}")
