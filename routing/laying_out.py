"""Giving the linear layers of a base on a CPU the layout that multiplies fastest there, or that is wanted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from routing.layout_trial import Stopwatch, Trial, last_cache, rest_of, stopped, try_layouts
from routing.layouts import Layout, Wanted
from routing.norms import in_loops
from routing.panels import PanelLinear
from routing.relaid import Kind, Relaid, kind_of, relaid, suits
from routing.tied import share

CACHES = 2  # times the last cache are walked through between products: then nothing is left of the one before
AS_SERVED = Wanted()


@dataclass(frozen=True)
class Laid:
    """What became of layers of one kind: how many have which layout, and the trial that decided, if any."""

    kind: Kind
    layouts: Counter[Layout]
    trial: Trial | None

    @property
    def layout(self) -> Layout:
        """What most of them have; the others would have answered otherwise than before."""
        return max(self.layouts, key=lambda layout: self.layouts[layout])


def lay_out(
    model: nn.Module,
    wanted: Wanted = AS_SERVED,
    *,
    stopwatch: Stopwatch = stopped,
    clock: Callable[[], float] = time.thread_time,
) -> list[Laid]:
    """Give every linear layer of a model its layout, for inference alone; what became of them, kind by kind.

    A layer that would answer otherwise than before stays as it is, with a line in the log. RMS norms are put
    into a loop (`routing.norms`), whatever is wanted of linear layers.
    """
    kinds = _kinds(model)
    open_ones = [kind for kind in kinds if wanted.of(kind.shape) is None]
    first: dict[Kind, Any] = {kind: model.get_submodule(kinds[kind][0]) for kind in open_ones}
    rest = rest_of(model, first.values(), CACHES * last_cache())
    trials = try_layouts(first, rest, stopwatch=stopwatch, clock=clock)
    first.clear()  # it would keep weights in memory that are replaced below
    laid = []
    for kind, names in kinds.items():
        trial = trials.get(kind)
        layout = wanted.of(kind.shape) or (trial.fastest if trial else "stored")
        if layout != "stored":
            _replace(model, names, kind, layout)
        laid.append(Laid(kind, Counter(_layout(model.get_submodule(name)) for name in names), trial))
    in_loops(model)
    return laid


def layouts_of(model: nn.Module) -> Counter[Layout]:
    """How many linear layers of a model have which layout."""
    return Counter(
        _layout(layer) for layer in model.modules() if isinstance(layer, Relaid | nn.Linear | Conv1D)
    )


def _layout(layer: nn.Module) -> Layout:
    return layer.layout if isinstance(layer, Relaid) else "stored"


def _kinds(model: nn.Module) -> dict[Kind, list[str]]:
    kinds: dict[Kind, list[str]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | Conv1D) and suits(layer):
            kinds.setdefault(kind_of(layer), []).append(name)
    return kinds


def _replace(model: nn.Module, names: Sequence[str], kind: Kind, layout: Layout) -> None:
    """One by one, so that no more than one weight lies in memory twice."""
    for name in names:
        layer: Any = model.get_submodule(name)
        found = relaid(name, layer, kind, layout)
        if found is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, found)
        if isinstance(found, PanelLinear):
            share(model, layer.weight, found)
