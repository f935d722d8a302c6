"""Reading together: what several answers have to read next, in one pass of the base where that can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from routing.family import Memory
from routing.graphs import Decoder
from routing.hidden import overhearing
from routing.layers import EVERYTHING, Crowd
from routing.ragged import Piece, Strand
from routing.routed import RoutedModel
from routing.routes import Route
from routing.traces import Record, said_ahead

Wants = Literal["last logits", "every logit", "states"]


@dataclass(frozen=True)
class Reading:
    """What one prompt or answer has to read, behind what is in its memory, and what is wanted of it.

    That is the logits of its last token, those of each, or the last hidden states of each and no logits.
    """

    tokens: tuple[int, ...]
    memory: Memory | Strand
    route: Route | None
    wants: Wants = "last logits"


@dataclass(frozen=True)
class Heard:
    """What came of it, as was wanted, and where its tokens are in the pass's record.

    Of an encoder-decoder `states` are those of the tokens that its encoder read.
    """

    logits: Float[Tensor, "positions vocabulary"]
    record: Record | None
    tokens: slice
    states: Float[Tensor, "tokens width"] | None = None


def read_alone(model: RoutedModel, reading: Reading) -> Heard:
    """One answer's reading in a pass of its own."""
    if isinstance(reading.memory, Strand):
        return read_together(model, [reading])[0]
    record = None if reading.route is None else Record(reading.route.pack)
    ids = torch.tensor([reading.tokens], device=model.base.device)
    if reading.wants == "states":
        states = model.states(ids, route=reading.route, cache=reading.memory, witness=record)
        return Heard(states.new_empty(0, 0), record, EVERYTHING, states[0])
    forward = model.logits if reading.wants == "every logit" else model.last_logits
    logits = forward(ids, route=reading.route, cache=reading.memory, witness=record)
    return Heard(logits[0], record, EVERYTHING)


def read_together(model: RoutedModel, readings: Sequence[Reading]) -> list[Heard]:
    """The readings of several answers, all with strands for memory, in one pass; in their order.

    Where the pass fails no strand is longer than it was. A CUDA graph does it where there is one; if that
    fails the pass is run without, as all are from then on.
    """
    decoder = _decoder_for(model, readings)
    if decoder is not None:
        lengths = [one.memory.length for one in readings if isinstance(one.memory, Strand)]
        try:
            return _replayed(decoder, readings)
        except Exception as error:  # noqa: BLE001 - whatever a driver may say
            for one, length in zip(readings, lengths, strict=True):
                assert isinstance(one.memory, Strand)
                one.memory.length = length
            model.graphs.give_up(error)
    order, crowds, records = _in_crowds(readings)
    spans = _spans([len(readings[place].tokens) for place in order])
    ids: list[int] = []
    positions: list[int] = []
    pieces, wanted = [], []
    for place, span in zip(order, spans, strict=True):
        reading = readings[place]
        assert isinstance(reading.memory, Strand)
        ids += reading.tokens
        positions += range(reading.memory.length, reading.memory.length + len(reading.tokens))
        pieces.append(Piece(reading.memory, span))
        wanted.append(_asked(reading.wants, span))
    rows = [row for span in wanted for row in range(span.start, span.stop)]
    with overhearing() as overheard:
        logits = model.run_pieces(ids, positions, pieces, crowds, rows)
    for piece in pieces:
        piece.keep()
    parts = logits.split([span.stop - span.start for span in wanted])
    heard: list[Heard | None] = [None] * len(readings)
    for place, span, part in zip(order, spans, parts, strict=True):
        states = None
        if readings[place].wants == "states" and overheard.states is not None:
            states = overheard.states[0, span]
        heard[place] = replace(_heard(part, span, crowds, records), states=states)
    return [one for one in heard if one is not None]


def _decoder_for(model: RoutedModel, readings: Sequence[Reading]) -> Decoder | None:
    """Who has graphs for this pass; None unless all are next tokens of answers that one step may decode."""
    if not model.graphs:
        return None
    steps = all(
        len(one.tokens) == 1
        and one.wants != "states"
        and isinstance(one.memory, Strand)
        and one.memory.length
        for one in readings
    )
    decoder = model.graphs.decoder([one.route for one in readings]) if steps else None
    return None if decoder is None or len(readings) > decoder.most else decoder


def _replayed(decoder: Decoder, readings: Sequence[Reading]) -> list[Heard]:
    strands = [one.memory for one in readings if isinstance(one.memory, Strand)]
    tokens = [one.tokens[0] for one in readings]
    spans = _spans([1] * len(readings))
    if decoder.slots:
        fixed = [None if one.route is None else one.route.fixed for one in readings]
        logits, _ = decoder.step(tokens, strands, None, fixed)
        records = [_known(one.route) for one in readings]
        return [Heard(logits[span], known, spans[0]) for span, known in zip(spans, records, strict=True)]
    route = readings[0].route
    logits, record = decoder.step(tokens, strands, None if route is None else route.pack)
    return [Heard(logits[span], record, EVERYTHING if record is None else span) for span in spans]


def _known(route: Route | None) -> Record | None:
    """The record of a token whose choice is fixed, if any."""
    return None if route is None else said_ahead(route, 1) or Record(route.pack)


def _in_crowds(readings: Sequence[Reading]) -> tuple[list[int], list[Crowd], list[Record]]:
    """The readings' places so that those of one pack, and of them those routed alike, stand together.

    And the record of each crowd: where its choice is known before, nobody has to tell it.
    """
    groups: list[list[int]] = []
    for place, reading in enumerate(readings):
        for group in groups:
            if _alike(readings[group[0]].route, reading.route):
                group.append(place)
                break
        else:
            groups.append([place])
    packs = [0 if (way := readings[group[0]].route) is None else id(way.pack) for group in groups]
    groups = [groups[number] for number in sorted(range(len(groups)), key=lambda number: packs[number])]
    crowds, records, start = [], list[Record](), 0
    for group in groups:
        stop = start + sum(len(readings[place].tokens) for place in group)
        route = readings[group[0]].route
        if route is not None:
            known = said_ahead(route, stop - start)
            records.append(known or Record(route.pack))
            crowds.append(Crowd(route, slice(start, stop), None if known else records[-1]))
        start = stop
    return [place for group in groups for place in group], crowds, records


def _alike(one: Route | None, other: Route | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.agrees(other)


def _asked(wants: Wants, span: slice) -> slice:
    """At which of a reading's tokens the head is asked."""
    starts = {"every logit": span.start, "last logits": span.stop - 1, "states": span.stop}
    return slice(starts[wants], span.stop)


def _spans(lengths: Sequence[int]) -> list[slice]:
    """Slices of these lengths, one behind the other."""
    spans, start = [], 0
    for length in lengths:
        spans.append(slice(start, start + length))
        start += length
    return spans


def _heard(logits: Tensor, span: slice, crowds: Sequence[Crowd], records: Sequence[Record]) -> Heard:
    """One reading's part; its tokens are counted from the beginning of its crowd."""
    for crowd, record in zip(crowds, records, strict=True):
        start = crowd.tokens.start
        if start <= span.start < crowd.tokens.stop:
            return Heard(logits, record, slice(span.start - start, span.stop - start))
    return Heard(logits, None, EVERYTHING)
