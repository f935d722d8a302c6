"""The scales of those experts at one module that have some, as they lie in a pack.

A module at which all experts are plain has none of this, and is routed without a look at it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from routing.scales import Scales


@dataclass(frozen=True)
class ScaledPart:
    """One expert's scales at one module, and what it is scored by there: its leading directions."""

    scales: Scales
    directions: Float[Tensor, "kept d_in"]
    sigma: Float[Tensor, " kept"]

    def copied(self, device: torch.device) -> ScaledPart:
        """The same in memory of its own."""
        kinds = (self.scales.output, self.scales.shift, self.scales.input)
        scales = Scales(*(None if kind is None else kind.to(device).clone() for kind in kinds))
        return ScaledPart(scales, self.directions.to(device).clone(), self.sigma.to(device).clone())


@dataclass(frozen=True)
class SomeRows:
    """A vector for some of a module's members: `table[place[m]]` for member m, if `present[m]` is one."""

    table: Float[Tensor, "rows width"]
    place: Int[Tensor, " members"]
    present: Float[Tensor, " members"]

    def mixed(
        self, experts: Int[Tensor, "tokens k"], weights: Float[Tensor, "tokens k"]
    ) -> Float[Tensor, "tokens width"]:
        """The weighted sum of the chosen members' vectors, for each token."""
        counted = (weights * self.present[experts]).to(self.table.dtype)
        return functional.embedding_bag(
            self.place[experts], self.table, per_sample_weights=counted, mode="sum"
        )

    def shared(self, weights: Float[Tensor, "*tokens members"]) -> Float[Tensor, "*tokens width"]:
        """The weighted sum of all members' vectors, for each token; weights may be trained through it."""
        return (weights * self.present).to(self.table.dtype) @ self.table[self.place]

    def of(self, member: int) -> Float[Tensor, " width"] | None:
        """The vector of one member, if it has one."""
        return self.table[self.place[member]] if bool(self.present[member]) else None


@dataclass(frozen=True)
class ScaledPack:
    """The scales of a module's experts; None where no expert has any.

    Row i of `directions`, of strength `sigma[i]`, belongs to the member `owners[i]`; `members` are all that
    have scales, and are scored by these rows instead of the rows of their low-rank part.
    """

    output: SomeRows | None
    shift: SomeRows | None
    input: SomeRows | None
    members: Int[Tensor, " scaled"]
    directions: Float[Tensor, "rows d_in"]
    sigma: Float[Tensor, " rows"]
    owners: Int[Tensor, " rows"]

    def shared(
        self,
        hidden: Float[Tensor, "*tokens d_in"],
        output: Float[Tensor, "*tokens d_out"],
        weights: Float[Tensor, "*tokens members"],
        weight: Float[Tensor, "d_out d_in"],
    ) -> Float[Tensor, "*tokens d_out"]:
        """What all members so weighted do through the base's weight, given its input and output."""
        change = torch.zeros_like(output) if self.output is None else self.output.shared(weights) * output
        if self.shift is not None:
            change = change + self.shift.shared(weights)
        if self.input is not None:
            change = change + functional.linear(self.input.shared(weights) * hidden, weight)
        return change

    def add_squares(
        self,
        squares: Float[Tensor, "tokens experts"],
        hidden: Float[Tensor, "tokens d_in"],
        *,
        weighted: bool,
    ) -> None:
        """Put the squared lengths of the projections of `hidden` in the place of those of low-rank parts."""
        coordinates = hidden @ self.directions.float().T
        if weighted:
            coordinates = coordinates * self.sigma
        squares.index_fill_(1, self.members, 0.0)
        squares.index_add_(1, self.owners, coordinates.square())

    def part(self, member: int) -> ScaledPart | None:
        """What a module's member has of its own here."""
        rows = self.owners == member
        if not bool(rows.any()):
            return None
        kinds = (self.output, self.shift, self.input)
        scales = Scales(*(None if some is None else some.of(member) for some in kinds))
        return ScaledPart(scales, self.directions[rows], self.sigma[rows])

    @property
    def tables(self) -> dict[str, Tensor]:
        """The scales by kind, those that are there."""
        kinds = {"output": self.output, "shift": self.shift, "input": self.input}
        return {name: some.table for name, some in kinds.items() if some is not None}


def scaled_pack(parts: Mapping[int, ScaledPart], members: int) -> ScaledPack | None:
    """The pack of these members' parts, of a module with so many members; None if nobody has scales."""
    if not parts:
        return None
    device = next(iter(parts.values())).directions.device
    counts = torch.tensor([len(part.sigma) for part in parts.values()])
    owners = torch.tensor(list(parts)).repeat_interleave(counts)
    return ScaledPack(
        output=_some_rows({row: part.scales.output for row, part in parts.items()}, members),
        shift=_some_rows({row: part.scales.shift for row, part in parts.items()}, members),
        input=_some_rows({row: part.scales.input for row, part in parts.items()}, members),
        members=torch.tensor(list(parts), device=device),
        directions=torch.cat([part.directions for part in parts.values()]),
        sigma=torch.cat([part.sigma for part in parts.values()]),
        owners=owners.to(device),
    )


def _some_rows(vectors: Mapping[int, Tensor | None], members: int) -> SomeRows | None:
    there = {row: vector for row, vector in vectors.items() if vector is not None}
    if not there:
        return None
    table = torch.stack(list(there.values()))
    place = torch.zeros(members, dtype=torch.int64)
    place[list(there)] = torch.arange(len(there))
    present = torch.zeros(members)
    present[list(there)] = 1.0
    return SomeRows(table, place.to(table.device), present.to(table.device))
