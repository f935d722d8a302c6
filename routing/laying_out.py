"""Giving the linear layers of a base on a CPU the layout that multiplies fastest there, or that is wanted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from routing.layout_trial import Rest, Stopwatch, Trial, last_cache, rest_of, stopped, try_layouts
from routing.layouts import Layout, Wanted
from routing.norms import in_loops
from routing.panels import PanelLinear
from routing.promised import NONE, Promises
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
    promises: Promises = NONE,
    *,
    stopwatch: Stopwatch = stopped,
    clock: Callable[[], float] = time.thread_time,
) -> list[Laid]:
    """Give every linear layer of a model its layout, for inference alone; what became of them, kind by kind.

    A layer that would answer otherwise than before stays as it is, with a line in the log. RMS norms are put
    into a loop (`routing.norms`), whatever is wanted of linear layers. What is promised is read when its turn
    comes; in the end there are no promises.
    """
    kinds = _kinds(model, promises)
    trials = _trials(model, kinds, wanted, promises, partial(try_layouts, stopwatch=stopwatch, clock=clock))
    layouts = {
        kind: wanted.of(kind.shape) or (trials[kind].fastest if kind in trials else "stored")
        for kind in kinds
    }
    for kind in sorted(kinds, key=lambda kind: prod(kind.shape), reverse=True):
        if layouts[kind] != "stored":
            _replace(model, kinds[kind], kind, layouts[kind], promises)
    promises.keep(model.parameters())
    in_loops(model)
    return [
        Laid(kind, Counter(_layout(model.get_submodule(name)) for name in names), trials.get(kind))
        for kind, names in kinds.items()
    ]


def layouts_of(model: nn.Module) -> Counter[Layout]:
    """How many linear layers of a model have which layout."""
    return Counter(
        _layout(layer) for layer in model.modules() if isinstance(layer, Relaid | nn.Linear | Conv1D)
    )


def _layout(layer: nn.Module) -> Layout:
    return layer.layout if isinstance(layer, Relaid) else "stored"


def _kinds(model: nn.Module, promises: Promises) -> dict[Kind, list[str]]:
    kinds: dict[Kind, list[str]] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear | Conv1D) and suits(layer):
            kinds.setdefault(kind_of(layer, promises.half_of), []).append(name)
    return kinds


def _trials(
    model: nn.Module,
    kinds: Mapping[Kind, Sequence[str]],
    wanted: Wanted,
    promises: Promises,
    tried: Callable[[Mapping[Kind, Any], Rest], dict[Kind, Trial]],
) -> dict[Kind, Trial]:
    """Trials of the kinds of which nothing is wanted. No weight that they use is held when they are over."""
    first: dict[Kind, Any] = {
        kind: model.get_submodule(names[0]) for kind, names in kinds.items() if wanted.of(kind.shape) is None
    }
    promises.keep(layer.weight for layer in first.values())
    most = CACHES * last_cache() if first else 0
    rest = rest_of(model, first.values(), most)
    lacking = most - sum(part.nbytes for part in rest)
    unread = sum(matrix.nbytes for matrix in promises.unread(model.parameters()))
    # In the place of weights that are still in files, and as wide as they are there.
    instead = torch.ones(min(lacking, unread) // 4)
    return tried(first, [*rest, instead])


def _replace(model: nn.Module, names: Sequence[str], kind: Kind, layout: Layout, promises: Promises) -> None:
    """One by one, so that no more than one weight lies in memory twice.

    Promised weights lie in one room in turn: of rooms that are freed between panels that stay, the C library
    gives little back.
    """
    room = torch.empty(prod(kind.shape), dtype=kind.dtype)
    for name in names:
        layer: Any = model.get_submodule(name)
        with promises.lent(layer.weight, room):
            found = relaid(name, layer, kind, layout)
        if found is not None:
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, found)
        if isinstance(found, PanelLinear):
            share(model, layer.weight, found)
