"""Uses: how many tokens chose each expert at each module, summed over all answers by one index version."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from routing.layers import EVERYTHING
from routing.pack import Pack
from routing.traces import ModuleTrace, Record

MOST_PLANS = 64


@dataclass(frozen=True)
class Counts:
    """What was counted: row i of `hits` and of `tokens` is `modules[i]`, column j of `hits` is `experts[j]`.

    `tokens` passed a module, and `hits` of them chose an expert there with some weight. A token may choose
    several experts, or none.
    """

    experts: tuple[str, ...]
    modules: tuple[str, ...]
    tokens: Int[Tensor, " modules"]
    hits: Int[Tensor, "modules experts"]


@dataclass(frozen=True)
class Plan:
    """By module its row, and one; by column of choices that stand side by side, where its row begins."""

    rows: Int[Tensor, " modules"]
    ones: Int[Tensor, " modules"]
    cells: Int[Tensor, " columns"]


class Uses:
    """Counts for one version, of `experts` alone: whoever joined it for some answers is not counted.

    One thread hears (the model's), another takes what was counted.
    """

    def __init__(self, experts: Sequence[str], modules: Sequence[str]) -> None:
        self._experts, self._modules = tuple(experts), tuple(modules)
        self._columns = {name: column for column, name in enumerate(self._experts)}
        self._rows = {name: row for row, name in enumerate(self._modules)}
        self._lock = threading.Lock()
        self._hits, self._tokens = self._nothing()
        self._heard: list[weakref.ref[Record]] = []  # those that still live, so of the pass under way
        self._plans: dict[tuple[tuple[str, int], ...], Plan] = {}
        self._pack: weakref.ref[Pack] | None = None
        self._of_pack: Int[Tensor, " places"] | None = None

    def hear(self, record: Record, tokens: slice) -> None:
        """Count one pass, all of it: answers read together bring the same record, which counts once.

        `tokens` are those of one answer; EVERYTHING where modules may have seen different numbers of them.
        """
        if not record.modules or any(heard() is record for heard in self._heard):
            return
        self._heard = [heard for heard in self._heard if heard() is not None] + [weakref.ref(record)]
        if tokens == EVERYTHING:
            for name, part in record.modules:
                self._count(self._plan([(name, part.experts.shape[1])]), part, record.pack)
            return
        self._count(self._plan(record.widths), record.side_by_side, record.pack)

    def _count(self, plan: Plan, part: ModuleTrace, pack: Pack) -> None:
        """Of modules whose choices stand side by side."""
        columns = self._columns_of(pack)[part.experts.cpu()]
        chosen = (part.weights.cpu() > 0).to(self._hits.dtype)
        with self._lock:
            self._tokens.index_add_(0, plan.rows, plan.ones * len(part.experts))
            self._hits.view(-1).index_add_(0, (columns + plan.cells).flatten(), chosen.flatten())

    def _plan(self, widths: Sequence[tuple[str, int]]) -> Plan:
        """Where the choices of modules of these names and widths are counted: worked out once, since the
        passes of a version are alike. Of a module that is not counted here, in the row behind the last one.
        """
        key = tuple(widths)
        found = self._plans.get(key)
        if found is None:
            others = len(self._modules)
            rows = torch.tensor([self._rows.get(name, others) for name, _ in widths])
            repeats = torch.tensor([width for _, width in widths])
            cells = (rows * (len(self._experts) + 1)).repeat_interleave(repeats)
            found = Plan(rows, torch.ones_like(rows), cells)
            if len(self._plans) > MOST_PLANS:
                self._plans.clear()
            self._plans[key] = found
        return found

    def taken(self) -> Counts | None:
        """What was counted since this was asked last; None where nobody answered."""
        with self._lock:
            if not self._tokens[:-1].any():
                return None
            hits, tokens = self._hits, self._tokens
            self._hits, self._tokens = self._nothing()
        return Counts(self._experts, self._modules, tokens[:-1], hits[:-1, :-1])

    def _nothing(self) -> tuple[Int[Tensor, "modules columns"], Int[Tensor, " modules"]]:
        """The last column is for everybody else, the last row for modules that no member touches."""
        rows, columns = len(self._modules) + 1, len(self._experts) + 1
        return torch.zeros(rows, columns, dtype=torch.int32), torch.zeros(rows, dtype=torch.int64)

    def _columns_of(self, pack: Pack) -> Int[Tensor, " places"]:
        """From places in a pack, which may be of fewer experts or of more, to columns here."""
        if self._of_pack is None or self._pack is None or self._pack() is not pack:
            others = len(self._experts)
            self._of_pack = torch.tensor([self._columns.get(name, others) for name in pack.experts])
            self._pack = weakref.ref(pack)
        return self._of_pack
