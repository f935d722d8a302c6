"""A step of decoding whose shapes and addresses never change, so that a CUDA graph can be made of it.

It reads one token of each of `capacity` answers. All that it is told lies in one buffer: tokens, how many
were read before, and where each answer's keys and values are. Where there is no answer token 0 is read as the
first of a text, into a strand that nobody else reads. Where each answer has a fixed choice of its own, two
more buffers tell it; who is on the plain base, and where there is no answer, has no weight there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.fixed import Fixed
from routing.graphs import Made
from routing.layers import EVERYTHING, Crowd, crowded
from routing.ragged import NOT_A_MASK, Piece, Strand, Strands, attended_by
from routing.routed import RoutedModel
from routing.routers import Selection
from routing.routes import Route
from routing.traces import Record, Widths

TOKENS, LENGTHS, TABLES = 0, 1, 2  # rows of the buffer; behind them four for each layer's table


class Choices:
    """Who speaks in each answer at each of these modules, at addresses that stay: rows and weights.

    Each module's part is one block, so that kernels read it where it lies.
    """

    def __init__(self, modules: Sequence[str], capacity: int, slots: int, device: torch.device) -> None:
        shape = len(modules), capacity, slots
        self._modules = tuple(modules)
        self.experts: Int[Tensor, "modules capacity slots"] = torch.zeros(
            shape, dtype=torch.int64, device=device
        )
        self.weights: Float[Tensor, "modules capacity slots"] = torch.zeros(shape, device=device)

    def fill(self, fixed: Sequence[Fixed | None]) -> None:
        """Say it of so many answers (None: the plain base). Of others, nobody speaks."""
        experts = np.zeros(self.experts.shape, dtype=np.int64)
        weights = np.zeros(self.weights.shape, dtype=np.float32)
        for place, one in enumerate(fixed):
            if one is not None:
                k = one.experts.shape[1]
                experts[:, place, :k], weights[:, place, :k] = one
        self.experts.copy_(torch.from_numpy(experts))
        self.weights.copy_(torch.from_numpy(weights))

    @property
    def by_module(self) -> Mapping[str, Selection]:
        """Views of them."""
        parts = zip(self._modules, self.experts, self.weights, strict=True)
        return {name: Selection(experts, weights) for name, experts, weights in parts}


class StepInputs:
    """What a step is told, at an address that stays. It knows no route, and so keeps no index version."""

    def __init__(self, model: RoutedModel, capacity: int, choices: Choices | None = None) -> None:
        self.choices = choices
        self._spare = Strand()
        model.run_pieces([0], [0], [Piece(self._spare, slice(0, 1))], [], [])
        self.layers = {layer: place for place, layer in enumerate(sorted(self._spare.keys))}
        rows = TABLES + 4 * len(self.layers)
        self.buffer: Int[Tensor, "rows capacity"] = torch.empty(
            rows, capacity, dtype=torch.int64, device=model.base.device
        )
        self.fill((), (), ())

    def fill(self, tokens: Sequence[int], strands: Sequence[Strand], fixed: Sequence[Fixed | None]) -> None:
        """Say what is to be read: a token of each answer, behind what is in its strand; and who speaks."""
        if self.choices is not None:
            self.choices.fill(fixed)
        rows, capacity = self.buffer.shape
        said = torch.zeros(rows, capacity, dtype=torch.int64)
        said[TOKENS, : len(tokens)] = torch.tensor(tokens)
        said[LENGTHS, : len(tokens)] = torch.tensor([strand.length for strand in strands])
        nobody = [self._spare.table()] * (capacity - len(tokens))
        tables = [*(strand.table() for strand in strands), *nobody]
        said[TABLES:] = torch.stack(tables, dim=-1).view(-1, capacity)
        self.buffer.copy_(said)

    def table(self, layer: int) -> Int[Tensor, "4 capacity"]:
        """Where the answers' keys and values of this layer are."""
        first = TABLES + 4 * self.layers[layer]
        return self.buffer[first : first + 4]


class StaticStep:
    """The step of one route (None: the plain base); `kernels` are those of `routing.triton_calls`.

    Where the inputs have choices, the route says only at which modules there may be one.
    """

    def __init__(self, model: RoutedModel, route: Route | None, inputs: StepInputs, kernels: Any) -> None:
        self._model, self._route, self._inputs, self._kernels = model, route, inputs, kernels
        self.widths: Widths = ()  # of the modules that were routed, when it ran last

    def __call__(self) -> Made:
        """Do it, from the inputs alone: the host is asked nothing, so all of it may be captured."""
        choices = self._inputs.choices
        record = None if self._route is None or choices is not None else Record(self._route.pack)
        fixed = None if choices is None else choices.by_module
        crowds = [] if self._route is None else [Crowd(self._route, EVERYTHING, record, fixed)]
        said = self._inputs.buffer
        with crowded(crowds), attended_by(self._attend):
            answer = self._model.base.model(
                input_ids=said[TOKENS : TOKENS + 1],
                position_ids=said[LENGTHS : LENGTHS + 1],
                attention_mask=NOT_A_MASK,
                past_key_values=Strands(),
                use_cache=True,
            )
        if record is None or not record.modules:
            return Made(answer.logits[0], None)
        self.widths = record.widths
        return Made(answer.logits[0], record.side_by_side)

    def _attend(
        self,
        layer: int,
        query: Float[Tensor, "capacity heads width"],
        key: Float[Tensor, "capacity kept_heads width"],
        value: Float[Tensor, "capacity kept_heads wide"],
        scaling: float,
        window: int | None,
    ) -> Float[Tensor, "capacity heads wide"]:
        table, lengths = self._inputs.table(layer), self._inputs.buffer[LENGTHS]
        attended: Tensor = self._kernels.attend(query, key, value, table, lengths, scaling, window)
        return attended
