"""Uses: how many tokens chose each expert at each module, summed over all answers by one index version."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from routing.pack import Pack
from routing.traces import Record


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
        self._heard: weakref.ref[Record] | None = None
        self._pack: weakref.ref[Pack] | None = None
        self._of_pack: Int[Tensor, " places"] | None = None

    def hear(self, record: Record) -> None:
        """Count one pass. Answers that were read together bring the same record, which counts once."""
        if not record.modules or (self._heard is not None and self._heard() is record):
            return
        self._heard = weakref.ref(record)
        known = [(self._rows[name], part) for name, part in record.modules if name in self._rows]
        if not known:
            return
        rows = torch.tensor([row for row, _ in known])
        sizes = torch.tensor([part.experts.numel() for _, part in known])
        read = torch.tensor([len(part.experts) for _, part in known])
        places = torch.cat([part.experts.flatten() for _, part in known]).cpu()
        chosen = torch.cat([part.weights.flatten() for _, part in known]).cpu() > 0
        columns = self._columns_of(record.pack)[places]
        width = len(self._experts) + 1
        cells = (rows * width).repeat_interleave(sizes) + columns
        with self._lock:
            self._tokens.index_add_(0, rows, read)
            self._hits.view(-1).index_add_(0, cells, chosen.to(self._hits.dtype))

    def taken(self) -> Counts | None:
        """What was counted since this was asked last; None where nobody answered."""
        with self._lock:
            if not self._tokens.any():
                return None
            hits, tokens = self._hits, self._tokens
            self._hits, self._tokens = self._nothing()
        return Counts(self._experts, self._modules, tokens, hits[:, :-1])

    def _nothing(self) -> tuple[Int[Tensor, "modules columns"], Int[Tensor, " modules"]]:
        """The last column is for everybody else."""
        shape = (len(self._modules), len(self._experts) + 1)
        return torch.zeros(shape, dtype=torch.int32), torch.zeros(len(self._modules), dtype=torch.int64)

    def _columns_of(self, pack: Pack) -> Int[Tensor, " places"]:
        """From places in a pack, which may be of fewer experts or of more, to columns here."""
        if self._of_pack is None or self._pack is None or self._pack() is not pack:
            others = len(self._experts)
            self._of_pack = torch.tensor([self._columns.get(name, others) for name in pack.experts])
            self._pack = weakref.ref(pack)
        return self._of_pack
