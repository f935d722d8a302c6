"""Excerpts: of each expert the routing vectors at some of its modules, by which prompts are judged.

Evidence is a mean over modules, and of many modules a part says nearly the same. So where the vectors of
every expert do not fit into a memory, those of an excerpt are in it, and the others come with the factors of
whoever is heard: each token is then routed by all of them. What an excerpt costs in accuracy is measured in
docs/decisions/0054-routing-vectors-in-the-budget.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from routing.pack import Excerpt, ModulePack, Pack, Update

FEWEST = 8  # modules of an expert by which prompts are judged, if it has as many
GOLDEN = 0.6180339887498949  # whose multiples spread evenly over the unit interval, however many there are
Updates = Mapping[str, Update]


def excerpted(modules: Sequence[str], parts: int, *, fewest: int | None = None) -> list[str]:
    """Which of an expert's modules an excerpt of one in so many parts has, in their order.

    Evenly from the first to the last and from every kind, at least so many or `FEWEST`; a smaller excerpt is
    part of each larger one.
    """
    least = FEWEST if fewest is None else fewest
    count = max(min(least, len(modules)), -(-len(modules) // parts))
    order = sorted(range(len(modules)), key=lambda place: place * GOLDEN % 1)
    chosen = set(order[:count])
    return [name for place, name in enumerate(modules) if place in chosen]


def excerpt_of(updates: Updates, parts: int, *, fewest: int | None = None) -> Updates:
    """The updates of an expert that belong to its excerpt, in whatever order they were read."""
    least = FEWEST if fewest is None else fewest
    return {name: updates[name] for name in chosen(frozenset(updates), parts, least)}


@lru_cache(maxsize=1024)
def chosen(modules: frozenset[str], parts: int, fewest: int) -> tuple[str, ...]:
    """As `excerpted`, of modules in no order: thousands of experts mostly change the same modules."""
    return tuple(excerpted(sorted(modules, key=_in_depth), parts, fewest=fewest))


def without_vectors(updates: Updates) -> Updates:
    """The same updates, whose vectors are elsewhere."""
    return {
        name: replace(update, prototype=_absent(len(update.prototype)), gate=None)
        for name, update in updates.items()
    }


def with_excerpt(pack: Pack, modules: Mapping[str, ModulePack], parts: int, *, scattered: bool) -> Pack:
    """The pack with an excerpt, of these modules; `scattered`: over several devices."""
    judging = Pack(pack.experts, modules, pack.keys, pack.neutral, usual=pack.usual)
    return replace(pack, excerpt=Excerpt(judging, parts, scattered))


def _in_depth(module: str) -> list[tuple[int, str]]:
    """What modules are ordered by, layer 2 before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", module)]


@lru_cache(maxsize=256)
def _absent(width: int) -> Float[Tensor, " width"]:
    """A vector without memory; one for all experts, since a tensor itself takes some."""
    return torch.empty(width, device="meta")
