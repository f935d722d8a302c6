"""Ablation: how well a composed model predicts rows with all of its experts, and without each of them.

One loaded base, one pack. A row is read again only where the absence of an expert can change its route.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from routing.absence import Readings, Without, by_tokens_alone, same_plan, without
from routing.completion_loss import outcomes_by_row
from routing.composed import ComposedModel
from routing.hearing import Plan
from routing.layers import routed_by
from routing.paired import Outcomes
from routing.routers import Selection
from routing.routes import Route, Seat
from routing.rows import Row

ROWS_AT_ONCE = 16
TOKENS_AT_ONCE = 1024  # with padding: logits of a large vocabulary are most of a pass's memory
Spent = Callable[[int], None]
RouteOf = Callable[[Sequence[int]], Route | None]


@dataclass(frozen=True)
class Whole:
    """What the model with all of its experts makes of each row; `plans` are by prompt.

    `chosen` says whom a token of the row was sent to, `heard` whose part in that had a weight.
    """

    outcomes: Outcomes
    plans: Mapping[tuple[int, ...], Plan]
    chosen: Bool[Tensor, "rows experts"]
    heard: Bool[Tensor, "rows experts"]


@dataclass(frozen=True)
class Ablation:
    """Rows, and the composed model that is to predict them.

    `spent` is told after each pass how many tokens it read; what it raises ends the work.
    """

    model: ComposedModel
    rows: Sequence[Row]
    spent: Spent

    @property
    def tokens(self) -> int:
        """How many tokens it takes to read every row once."""
        return sum(map(self._length, self.rows))

    def base(self) -> Outcomes:
        """By the plain base."""
        return self._read(range(len(self.rows)), lambda _prompt: None, _Witness.of(self), apart=False)

    def whole(self) -> Whole:
        """By the library's own policy, with all of its experts."""
        routing, queries = self.model.routing(), self.model.queries
        witness, plans = _Witness.of(self), dict[tuple[int, ...], Plan]()

        def route(prompt: Sequence[int]) -> Route:
            plans[tuple(prompt)] = queries.plan(routing, prompt)
            self.spent(len(prompt) if self._apart else 0)
            return queries.route(routing, prompt)

        found = self._read(range(len(self.rows)), route, witness, apart=self._apart)
        return Whole(found, plans, witness.chosen, witness.heard)

    def without(self, expert: str, whole: Whole, readings: Readings) -> Outcomes:
        """By the model as it would be without this expert; UnknownExpert."""
        others = without(self.model, expert, readings)
        touched = [place for place in range(len(self.rows)) if self._may_differ(place, others, whole)]
        found = self._read(touched, others.route, _Witness.of(self), apart=self._apart)
        log_probability, exact = whole.outcomes.log_probability.copy(), whole.outcomes.exact.copy()
        log_probability[touched], exact[touched] = found.log_probability, found.exact
        return Outcomes(log_probability, whole.outcomes.tokens, exact)

    def readings(self) -> Readings:
        """What is said of the rows' prompts, to be shared by all that are left out."""
        return Readings(self.model.queries.known, self.spent)

    def _may_differ(self, place: int, others: Without, whole: Whole) -> bool:
        routing = self.model.routing()
        if bool(whole.chosen[place, self.model.pack.places[others.expert]]):
            return True
        if by_tokens_alone(routing, others.expert):
            return False
        if routing.asked_prior is None or (routing.subtracts and others.expert in routing.general):
            return True
        prompt = tuple(self.rows[place][0])
        return not same_plan(whole.plans[prompt], others.plan(prompt), routing)

    @property
    def _apart(self) -> bool:
        """Whether each prompt has a route of its own, so that rows cannot share a pass."""
        return self.model.routing().asked_prior is not None

    def _read(self, places: Sequence[int], route: RouteOf, witness: _Witness, *, apart: bool) -> Outcomes:
        """These rows in order; `apart` where each prompt has a route of its own."""
        found: dict[int, tuple[float, bool]] = {}
        for part in self._parts(places, at_once=1 if apart else ROWS_AT_ONCE):
            rows = [self.rows[place] for place in part]
            with routed_by(route(rows[0][0]), witness.of_rows(part)):
                log_probability, exact = outcomes_by_row(self.model.routed.base, rows)
            found.update(zip(part, zip(log_probability.tolist(), exact.tolist(), strict=True), strict=True))
            self.spent(sum(map(self._length, rows)))
        tokens = [len(self.rows[place][1]) for place in places]
        return Outcomes(
            np.array([found[place][0] for place in places]),
            np.array(tokens, dtype=np.float64),
            np.array([found[place][1] for place in places], dtype=np.float64),
        )

    def _parts(self, places: Sequence[int], *, at_once: int) -> Iterator[list[int]]:
        """Rows of like lengths together, as many as fit into a pass."""
        part: list[int] = []
        for place in sorted(places, key=lambda one: self._length(self.rows[one])):
            wide = (len(part) + 1) * self._length(self.rows[place]) > TOKENS_AT_ONCE
            if part and (wide or len(part) == at_once):
                yield part
                part = []
            part.append(place)
        if part:
            yield part

    def _length(self, row: Row) -> int:
        return self.model.routed.base.family.length(*row)


@dataclass(frozen=True)
class _Witness:
    """Keeps who was chosen for which row."""

    chosen: Bool[Tensor, "rows experts"]
    heard: Bool[Tensor, "rows experts"]

    @classmethod
    def of(cls, ablation: Ablation) -> _Witness:
        nobody = torch.zeros(len(ablation.rows), len(ablation.model.experts), dtype=torch.bool)
        return cls(nobody, nobody.clone())

    def of_rows(self, places: Sequence[int]) -> Callable[[Seat, str, Selection], None]:
        """For one pass over these rows, whose tokens come row by row."""

        def witness(seat: Seat, _module: str, selection: Selection) -> None:
            members = seat.module.member_ids[selection.experts].cpu().reshape(len(places), -1)
            weights = selection.weights.cpu().reshape(len(places), -1)
            for row, place in enumerate(places):
                self.chosen[place, members[row]] = True
                self.heard[place, members[row][weights[row] > 0]] = True

        return witness
