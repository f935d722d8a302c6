"""Excerpts: of each expert the routing vectors at some of its modules, by which prompts are judged.

Evidence is a mean over modules, and of many modules a part says nearly the same. So where the vectors of
every expert do not fit into a memory, those of an excerpt are in it, and the others come with the factors of
whoever is heard: each token is then routed by all of them. What an excerpt costs in accuracy is measured in
docs/decisions/0054-routing-vectors-in-the-budget.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from routing.index import ExpertEntry
from routing.pack import Excerpt, ModulePack, Pack, Update
from routing.spec import BaseSpec

FEWEST = 8  # modules of an expert by which prompts are judged, if it has as many
NARROWEST = 2**16  # parts: more than any base has modules
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
    return {name: updates[name] for name in _chosen(frozenset(updates), parts, least)}


def without_vectors(updates: Updates) -> Updates:
    """The same updates, whose vectors are elsewhere."""
    return {
        name: replace(update, prototype=_absent(len(update.prototype)), gate=None)
        for name, update in updates.items()
    }


def size(entries: Iterable[ExpertEntry], parts: int, spec: BaseSpec) -> int:
    """About how many bytes the excerpt of these takes: how wide its modules are the entries do not say."""
    mean = sum(module.d_in for module in spec.target_modules) / len(spec.target_modules)
    least = round(FEWEST * mean * torch.float32.itemsize)
    return sum(max(-(-one.vectors_size // parts), min(one.vectors_size, least)) for one in entries)


def parts_for(entries: Sequence[ExpertEntry], room: int, spec: BaseSpec) -> int:
    """The largest excerpt of these that so many bytes hold, as a power of two; 1: there is room for all.

    Where there is room for none it is the smallest.
    """
    parts = 1
    while parts < NARROWEST and size(entries, parts, spec) > room:
        parts *= 2
    return parts


def with_excerpt(pack: Pack, modules: Mapping[str, ModulePack], parts: int, *, scattered: bool) -> Pack:
    """The pack with an excerpt, of these modules; `scattered`: over several devices."""
    judging = Pack(pack.experts, modules, pack.keys, pack.neutral, usual=pack.usual)
    return replace(pack, excerpt=Excerpt(judging, parts, scattered))


@lru_cache(maxsize=1024)
def _chosen(modules: frozenset[str], parts: int, fewest: int) -> tuple[str, ...]:
    """Thousands of experts mostly change the same modules."""
    return tuple(excerpted(sorted(modules, key=_in_depth), parts, fewest=fewest))


def _in_depth(module: str) -> list[tuple[int, str]]:
    """What modules are ordered by, layer 2 before layer 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", module)]


@lru_cache(maxsize=256)
def _absent(width: int) -> Float[Tensor, " width"]:
    """A vector without memory; one for all experts, since a tensor itself takes some."""
    return torch.empty(width, device="meta")
