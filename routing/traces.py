"""Who spoke: shares of the experts in an answer, and the full record of every selection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from routing.layers import Witness
from routing.pack import Pack
from routing.routers import Selection
from routing.routes import Seat


class Shares:
    """Sums the mixing weights of each expert over all tokens and modules."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._totals: Float64[Tensor, " experts"] = torch.zeros(len(pack.experts), dtype=torch.float64)
        self._pending: list[tuple[Int[Tensor, " pairs"], Float[Tensor, " pairs"]]] = []

    def record(self, seat: Seat, _name: str, selection: Selection) -> None:
        """Take note of one module's selection; cheap, since it happens at every module of every pass."""
        self._pending.append((_experts(self._pack, seat, selection).flatten(), selection.weights.flatten()))

    def settle(self) -> None:
        """Add up what one forward pass recorded."""
        if not self._pending:
            return
        experts = torch.cat([pair[0] for pair in self._pending])
        weights = torch.cat([pair[1] for pair in self._pending])
        self._pending.clear()
        self._totals += torch.bincount(experts, weights.double(), minlength=len(self._totals)).cpu()

    def by_expert(self) -> dict[str, float]:
        """Each expert's part of all mixing weight given so far, largest first; the silent ones left out."""
        self.settle()
        whole = float(self._totals.sum())
        named = zip(self._pack.experts, self._totals.tolist(), strict=True)
        spoken = [(name, total / whole) for name, total in named if total > 0]
        return dict(sorted(spoken, key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class ModuleTrace:
    """For each token that passed the module, in order: experts as places in the pack, and their weights."""

    experts: Int[Tensor, "tokens k"]
    weights: Float[Tensor, "tokens k"]


class Trace:
    """Keeps every selection: k small integers and k weights for each token at each module."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        self._parts: dict[str, list[ModuleTrace]] = {}

    def record(self, seat: Seat, name: str, selection: Selection) -> None:
        """Keep one module's selection."""
        experts = _experts(self._pack, seat, selection).to("cpu", torch.int32)
        self._parts.setdefault(name, []).append(ModuleTrace(experts, selection.weights.cpu()))

    def by_module(self) -> Mapping[str, ModuleTrace]:
        """All selections so far, in the order of the tokens. Modules that no expert touches are not there."""
        return {
            name: ModuleTrace(
                torch.cat([part.experts for part in parts]), torch.cat([part.weights for part in parts])
            )
            for name, parts in self._parts.items()
        }


def both(first: Witness, second: Witness) -> Witness:
    """A witness that tells two."""

    def record(seat: Seat, name: str, selection: Selection) -> None:
        first(seat, name, selection)
        second(seat, name, selection)

    return record


def _experts(pack: Pack, seat: Seat, selection: Selection) -> Int[Tensor, "tokens k"]:
    """The chosen experts as places in the pack; where every expert is present, rows are places already."""
    if len(seat.module) == len(pack.experts):
        return selection.experts
    return seat.module.member_ids[selection.experts]
