"""How much memory routing vectors of many experts take, all or an excerpt: foreseen from some of them.

What an index says of an expert is the size of its vectors, not at which modules they are, nor whether it has
gates, of which a module has a row for each of its experts as soon as one has any. Experts of one size are
mostly alike, so one of each is looked at.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch

from routing import excerpts
from routing.errors import CorruptObject, MissingObject
from routing.index import ExpertEntry
from routing.store import IndexStore

MOST_SIZES = 64  # of which one expert is looked at
TRIES = 3  # experts of one size, where some cannot be read
NARROWEST = 2**16  # parts: more than any base has modules


class Row(NamedTuple):
    """What a module's vectors are of one expert: how wide, and whether there is a gate."""

    width: int
    gated: bool


Shape = Mapping[str, Row]


@dataclass(frozen=True)
class Census:
    """How many experts there are of each shape; `unread` are bytes of those of whom it is not known."""

    shapes: Sequence[tuple[Shape, int]]
    unread: int = 0

    def size(self, parts: int) -> int:
        """Bytes in memory of vectors at one in so many parts of each expert's modules."""
        rows: Counter[str] = Counter()
        wide: dict[str, int] = {}
        gated: set[str] = set()
        for shape, count in self.shapes:
            for name in excerpts.chosen(frozenset(shape), parts, excerpts.FEWEST):
                rows[name] += count
                wide[name] = shape[name].width
                if shape[name].gated:
                    gated.add(name)
        numbers = sum(wide[name] * (count + (count if name in gated else 1)) for name, count in rows.items())
        return numbers * torch.float32.itemsize + -(-self.unread // parts)

    def parts_for(self, room: int) -> int:
        """The largest excerpt that so many bytes hold, as a power of two; 1: there is room for all.

        Where there is room for none it is the smallest.
        """
        parts = 1
        while parts < NARROWEST and self.size(parts) > room:
            parts *= 2
        return parts


def census(store: IndexStore, entries: Sequence[ExpertEntry]) -> Census:
    """The census of these experts. Whose size is not looked at counts as of the next larger one."""
    by_size: dict[int, list[ExpertEntry]] = defaultdict(list)
    for entry in entries:
        by_size[entry.vectors_size].append(entry)
    known = {size: shape for size in _some(sorted(by_size)) if (shape := _shape_of(store, by_size[size]))}
    counts: Counter[int] = Counter()
    unread = 0
    for size, alike in by_size.items():
        nearest = min((one for one in known if one >= size), default=max(known, default=None))
        if nearest is None:
            unread += size * len(alike)
        else:
            counts[nearest] += len(alike)
    return Census([(known[size], count) for size, count in counts.items()], unread)


def _some(sizes: Sequence[int]) -> Sequence[int]:
    """As many of these as are looked at, evenly from the first to the last."""
    if len(sizes) <= MOST_SIZES:
        return sizes
    return [sizes[place * (len(sizes) - 1) // (MOST_SIZES - 1)] for place in range(MOST_SIZES)]


def _shape_of(store: IndexStore, alike: Sequence[ExpertEntry]) -> Shape | None:
    """The shape of the first of these that can be read: what is wrong with others is said when they are."""
    for entry in alike[:TRIES]:
        try:
            return _shape(store, entry)
        except (MissingObject, CorruptObject):
            continue
    return None


@lru_cache(maxsize=1024)
def _shape(store: IndexStore, entry: ExpertEntry) -> Shape:
    """Versions that follow each other mostly ask for the same."""
    return {
        name: Row(len(vector.prototype), vector.gate is not None)
        for name, vector in store.read_vectors(entry).items()
    }
