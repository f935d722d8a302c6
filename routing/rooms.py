"""Room for the factors of experts that are read one after the other: each goes to its final place at once.

Collected first and laid under each other when all are there, they would lie in memory twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch

from routing.growing import Growing, Half, growing
from routing.pack import ModulePack, Update
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
        self._growing = {name: _room(name, count, spec, device, dtype) for name, count in rows.items()}

    def place(self, updates: Mapping[str, Update]) -> dict[str, Update]:
        """The same updates with their factors here; where there is no room left they stay where they are."""
        return {name: self._placed(name, update) for name, update in updates.items()}

    def grown(self, modules: Mapping[str, ModulePack]) -> dict[str, ModulePack]:
        """The packs made of them, to which more can be added if all of their rows are here."""
        return {name: self._grown(name, module) for name, module in modules.items()}

    def _placed(self, name: str, update: Update) -> Update:
        laid = self._growing[name].add([Half(update.a, update.b)])
        if laid is None:
            return update
        first, last = laid.added[0].tolist()
        return replace(update, a=laid.a[first:last], b=laid.b[first:last])

    def _grown(self, name: str, module: ModulePack) -> ModulePack:
        growing = self._growing.get(name)
        here = growing is not None and growing.holds(module.a, module.b)
        return replace(module, growing=growing) if here else module


def _room(name: str, rows: int, spec: BaseSpec, device: Devices, dtype: torch.dtype) -> Growing:
    target = spec.module(name)
    return growing(rows, target.d_in, target.d_out, device=device_at(device, name), dtype=dtype)
