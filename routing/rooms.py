"""Room for the factors of experts that are read one after the other: each goes to its final place at once.

Collected first and laid under each other when all are there, they would lie in memory twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from routing.pack import Update
from routing.spec import BaseSpec
from routing.spread import Devices, device_at


class Rooms:
    """At each module as many rows as these experts have there, filled in the order in which they come."""

    def __init__(
        self, ranks: Iterable[Mapping[str, int]], spec: BaseSpec, *, device: Devices, dtype: torch.dtype
    ) -> None:
        """`ranks` are each expert's, by module. Modules that the base does not have get no room."""
        rows: Counter[str] = Counter()
        for expert in ranks:
            rows.update({name: rank for name, rank in expert.items() if name in spec})
        self._taken: Counter[str] = Counter()
        self._halves = {name: _room(name, count, spec, device, dtype) for name, count in rows.items()}

    def place(self, updates: Mapping[str, Update]) -> dict[str, Update]:
        """The same updates with their factors here; where there is no room left they stay where they are."""
        return {name: self._placed(name, update) for name, update in updates.items()}

    def _placed(self, name: str, update: Update) -> Update:
        first = self._taken[name]
        end = first + len(update.a)
        a, b = self._halves[name]
        if end > len(a):
            return update
        self._taken[name] = end
        return replace(update, a=a[first:end].copy_(update.a), b=b[first:end].copy_(update.b))


def _room(
    name: str, rows: int, spec: BaseSpec, device: Devices, dtype: torch.dtype
) -> tuple[Float[Tensor, "rows d_in"], Float[Tensor, "rows d_out"]]:
    target, place = spec.module(name), device_at(device, name)
    a, b = (torch.empty(rows, width, device=place, dtype=dtype) for width in (target.d_in, target.d_out))
    return a, b
