"""Bare experts that are read one after the other, laid under each other block by block.

Collected until all are there, thousands of them would be millions of small tensors for a moment, and the C
library hardly gives back what such leave behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from routing.pack import ModulePack, Pack, Update, pack_placed
from routing.repacking import repacked
from routing.routing_vectors import RoutingVectors, gates_under_each_other

SIZE = 128  # experts


class Blocks:
    """Modules of experts that come in the order of their places."""

    def __init__(self) -> None:
        self._block: dict[int, Mapping[str, Update]] = {}
        self._laid: dict[str, list[ModulePack]] = {}

    def add(self, place: int, updates: Mapping[str, Update]) -> None:
        """The expert at this place, whose factors are elsewhere."""
        self._block[place] = updates
        if len(self._block) == SIZE:
            self._lay()

    def modules(self) -> dict[str, ModulePack]:
        """The modules of all of them, which are here no longer."""
        self._lay()
        return {name: _under_each_other(self._laid.pop(name)) for name in list(self._laid)}

    def _lay(self) -> None:
        for name, module in pack_placed(self._block).items():
            self._laid.setdefault(name, []).append(module)
        self._block.clear()


def _under_each_other(blocks: Sequence[ModulePack]) -> ModulePack:
    if len(blocks) == 1:
        return blocks[0]
    starts = np.cumsum([0, *(len(block.a) for block in blocks)])
    vectors = [block.vectors for block in blocks]
    any_gate = any(not block.vectors.absent and block.any_gate for block in blocks)
    return ModulePack(
        members=tuple(member for block in blocks for member in block.members),
        vectors=RoutingVectors(
            torch.cat([one.prototypes for one in vectors]),
            gates_under_each_other([one.gates for one in vectors], any_gate=any_gate),
        ),
        a=torch.cat([block.a for block in blocks]),
        b=torch.cat([block.b for block in blocks]),
        spans=np.concatenate([block.spans + start for block, start in zip(blocks, starts[:-1], strict=True)]),
    )


class Following:
    """The same beside the experts of another pack, of whom those at `kept` stay."""

    def __init__(self, previous: Pack, kept: Mapping[int, int]) -> None:
        self._previous = previous
        self._kept = kept
        self._new: dict[int, Mapping[str, Update]] = {}

    def add(self, place: int, updates: Mapping[str, Update]) -> None:
        """An expert that the other pack had not: mostly there are few."""
        self._new[place] = updates

    def modules(self) -> dict[str, ModulePack]:
        """The modules of all of them."""
        return repacked(self._previous, self._kept, self._new)
