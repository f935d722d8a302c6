"""Who spoke: shares of the experts in an answer, and the full record of every selection."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor
from torch.nn import functional

from routing.layers import EVERYTHING
from routing.pack import Pack
from routing.routers import Selection
from routing.routes import Route, Seat


@dataclass(frozen=True)
class ModuleTrace:
    """For each token that passed the module, in order: experts as places in the pack, and their weights."""

    experts: Int[Tensor, "tokens k"]
    weights: Float[Tensor, "tokens k"]

    @property
    def size(self) -> int:
        """Bytes."""
        return self.experts.nbytes + self.weights.nbytes

    def of(self, tokens: slice) -> ModuleTrace:
        """What some of the tokens chose."""
        return ModuleTrace(self.experts[tokens], self.weights[tokens])

    def compact(self) -> ModuleTrace:
        """A copy in fewer bytes, on the CPU."""
        return ModuleTrace(self.experts.to("cpu", torch.int32), self.weights.cpu().clone())


def joined(parts: Sequence[ModuleTrace]) -> ModuleTrace:
    """Tokens behind each other as one; where some chose fewer, the rest of their choice has no weight."""
    widest = max(part.experts.shape[1] for part in parts)
    padded = [functional.pad(part.experts, (0, widest - part.experts.shape[1])) for part in parts]
    weights = [functional.pad(part.weights, (0, widest - part.weights.shape[1])) for part in parts]
    return ModuleTrace(torch.cat(padded), torch.cat(weights))


Widths = tuple[tuple[str, int], ...]  # by module, from how many experts each token is mixed there


@dataclass(frozen=True)
class Columns(Sequence[tuple[str, ModuleTrace]]):
    """The modules of a pass whose selections stand side by side already; taken apart where somebody asks."""

    widths: Widths
    whole: ModuleTrace

    def __len__(self) -> int:
        return len(self.widths)

    def __getitem__(self, place: Any) -> Any:
        return self._parts[place]

    def __iter__(self) -> Iterator[tuple[str, ModuleTrace]]:
        return iter(self._parts)

    @cached_property
    def _parts(self) -> list[tuple[str, ModuleTrace]]:
        widths = [width for _, width in self.widths]
        parts = zip(self.whole.experts.split(widths, 1), self.whole.weights.split(widths, 1), strict=True)
        return [(name, ModuleTrace(*part)) for (name, _), part in zip(self.widths, parts, strict=True)]


@dataclass(frozen=True)
class Record:
    """A witness that keeps every selection of one pass, module by module."""

    pack: Pack
    modules: list[tuple[str, ModuleTrace]] | Columns = field(default_factory=list)

    def __call__(self, seat: Seat, name: str, selection: Selection) -> None:
        assert isinstance(self.modules, list)
        self.modules.append((name, ModuleTrace(_experts(self.pack, seat, selection), selection.weights)))

    @property
    def widths(self) -> Widths:
        """The modules that were routed, each with how many experts its tokens were mixed from."""
        if isinstance(self.modules, Columns):
            return self.modules.widths
        return tuple((name, part.experts.shape[1]) for name, part in self.modules)

    def spoken(self, tokens: slice) -> tuple[Int[Tensor, " pairs"], Float[Tensor, " pairs"]]:
        """Every expert that these tokens chose anywhere, and the weight it was given there."""
        if tokens == EVERYTHING:  # of an encoder-decoder, modules see different numbers of tokens
            found = self._in_one_place
            experts = torch.cat([part.experts.flatten() for part in found])
            return experts, torch.cat([part.weights.flatten() for part in found])
        mine = self.side_by_side.of(tokens)
        return mine.experts.flatten(), mine.weights.flatten()

    @cached_property
    def side_by_side(self) -> ModuleTrace:
        """All modules in one: put together once, however many answers take their part of it."""
        if isinstance(self.modules, Columns):
            return self.modules.whole
        found = self._in_one_place
        return ModuleTrace(
            torch.cat([part.experts for part in found], dim=1),
            torch.cat([part.weights for part in found], dim=1),
        )

    @property
    def _in_one_place(self) -> list[ModuleTrace]:
        """All of them on one device."""
        found = [part for _, part in self.modules]
        if not self.pack.scattered:
            return found
        device = found[0].experts.device
        return [ModuleTrace(part.experts.to(device), part.weights.to(device)) for part in found]


def said_ahead(route: Route, tokens: int) -> Record | None:
    """The record of a pass of so many tokens, where it is known before; None where they have to be seen."""
    if (ahead := route.ahead) is None:
        return None
    whole = ModuleTrace(ahead.experts.expand(tokens, -1), ahead.weights.expand(tokens, -1))
    return Record(route.pack, Columns(ahead.widths, whole))


@dataclass(frozen=True)
class Spoken:
    """What one expert said in an answer: how many pairs of token and module chose it, with what weight."""

    hits: int
    weight: float


class Shares:
    """Sums the mixing weights of each expert over all tokens and modules, and counts where it was chosen."""

    def __init__(self, pack: Pack) -> None:
        self._pack = pack
        # First row: mixing weights. Second row: by how many pairs of token and module it was chosen.
        self._totals: Float64[Tensor, "2 experts"] = torch.zeros(2, len(pack.experts), dtype=torch.float64)

    def hear(self, record: Record, tokens: slice) -> None:
        """Add up what these tokens of one pass chose."""
        if record.modules:
            self._add(*record.spoken(tokens))

    def recall(self, spoken: ModuleTrace) -> None:
        """Add up what tokens chose that an earlier answer has read."""
        self._add(spoken.experts.flatten().to(torch.int64), spoken.weights.flatten())

    def _add(self, experts: Int[Tensor, " pairs"], weights: Float[Tensor, " pairs"]) -> None:
        """A pair without weight is no choice: it fills a row of those who chose fewer."""
        given, count = weights.double(), self._totals.shape[1]
        sums = [torch.bincount(experts, part, minlength=count) for part in (given, (given > 0).double())]
        self._totals += torch.stack(sums).cpu()

    def by_expert(self) -> dict[str, float]:
        """Each expert's part of all mixing weight given so far, largest first; the silent ones left out."""
        spoken = self.spoken()
        whole = sum(one.weight for one in spoken.values())
        shares = [(name, one.weight / whole) for name, one in spoken.items()]
        return dict(sorted(shares, key=lambda item: (-item[1], item[0])))

    def spoken(self) -> dict[str, Spoken]:
        """What each expert that spoke has said so far, in the pack's order."""
        weights, hits = self._totals.tolist()
        named = zip(self._pack.experts, weights, hits, strict=True)
        return {name: Spoken(int(count), weight) for name, weight, count in named if weight > 0}

    def entropy(self) -> float | None:
        """How widely the answer's mixing weight is spread, in bits: -sum p log2 p over the experts' shares p.

        0 where one expert has it all, log2 n where n experts have equal parts, None where nobody spoke.
        """
        weights = self._totals[0]
        whole = float(weights.sum())
        if not whole:
            return None
        return float(torch.special.entr(weights / whole).sum()) / math.log(2)


class Trace:
    """Keeps every selection: k small integers and k weights for each token at each module."""

    def __init__(self) -> None:
        self._parts: dict[str, list[ModuleTrace]] = {}

    def hear(self, record: Record, tokens: slice) -> None:
        """Keep what these tokens of one pass chose."""
        for name, module in record.modules:
            part = module.of(tokens)
            kept = ModuleTrace(part.experts.to("cpu", torch.int32), part.weights.cpu())
            self._parts.setdefault(name, []).append(kept)

    def by_module(self) -> Mapping[str, ModuleTrace]:
        """All selections so far, in the order of the tokens. Modules that no expert touches are not there."""
        return {name: joined(parts) for name, parts in self._parts.items()}


def _experts(pack: Pack, seat: Seat, selection: Selection) -> Int[Tensor, "tokens k"]:
    """The chosen experts as places in the pack; where every expert is present, rows are places already."""
    if len(seat.module) == len(pack.experts):
        return selection.experts
    return seat.module.member_ids[selection.experts]
