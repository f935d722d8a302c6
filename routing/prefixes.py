"""Prefixes: what answers of one conversation have read already is not read again.

The turns of a conversation begin alike. What a finished answer remembers is kept for a while, under a key
made of who asks and a name that they have chosen, and a later answer under the same key begins with a copy of
the longest beginning that both have in common. It must be routed by the same rule through the same index
version: keys and values depend on what experts added to them. Where nobody adds anything they are the base's
own, whatever the version. Who spoke in those tokens is remembered too.

Nothing is shared without a name, nor with another caller who has chosen the same. Otherwise the time to the
first token, and the number of tokens recalled, would tell what others have asked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from weakref import ref

import torch
from jaxtyping import Int
from torch import Tensor

from routing.pack import Pack
from routing.ragged import Strand
from routing.routes import Route, Rule
from routing.traces import ModuleTrace

SHORTEST = 16  # tokens: what is shorter is read again in less time than it takes to look for
MEGABYTE = 2**20


class Recalled(NamedTuple):
    """A beginning that need not be read: its tokens, their memory (which may go on), and who spoke in them.

    That is nobody by the plain base.
    """

    length: int
    strand: Strand
    spoken: ModuleTrace | None


class Way(NamedTuple):
    """What decides, beside tokens, which keys and values they leave: a pack and a rule, or the base alone."""

    pack: Pack | None = None
    rule: Rule | None = None


BASE = Way()


@dataclass(frozen=True)
class Kept:
    """What one answer has read."""

    key: Hashable
    pack: ref[Pack] | None  # of an index version that is served no longer nothing is kept
    rule: Rule | None
    tokens: Int[Tensor, " tokens"]
    strand: Strand
    spoken: ModuleTrace | None

    @property
    def size(self) -> int:
        """Bytes."""
        return self.strand.size + (0 if self.spoken is None else self.spoken.size)

    @property
    def gone(self) -> bool:
        """Whether it belongs to an index version that is not there any more."""
        return self.pack is not None and self.pack() is None

    def fits(self, key: Hashable, way: Way) -> bool:
        """Whether an answer under this key, so routed, would remember the same of the same tokens."""
        if self.key != key or self.gone:
            return False
        pack = None if self.pack is None else self.pack()
        return pack is way.pack and self.rule == way.rule

    def shared(self, prompt: Int[Tensor, " prompt"]) -> int:
        """With how many of its tokens the prompt begins; the last one of a prompt is always read."""
        most = min(len(self.tokens), len(prompt) - 1)
        different = (self.tokens[:most] != prompt[:most]).nonzero()
        return int(different[0]) if len(different) else most


class Prefixes:
    """The beginnings that one base remembers, the least used forgotten first. For one thread alone."""

    def __init__(self, megabytes: int) -> None:
        self._room = megabytes * MEGABYTE
        self._kept: OrderedDict[int, Kept] = OrderedDict()
        self._next = 0
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes in use."""
        return self._size

    @property
    def unused(self) -> int:
        """Bytes that may come to be in use."""
        return self._room - self._size

    def keep(
        self,
        key: Hashable,
        route: Route | None,
        tokens: Sequence[int],
        strand: Strand,
        spoken: ModuleTrace | None,
    ) -> None:
        """Keep a copy of what a finished answer has read, unless nobody can tell who would read it alike."""
        way = _way(route)
        if way is None:
            return
        kept = Kept(
            key,
            None if way.pack is None else ref(way.pack),
            way.rule,
            torch.tensor(tokens),
            strand.beginning(len(tokens)),
            spoken,
        )
        self._forget_what_it_replaces(kept, way)
        self._kept[self._next] = kept
        self._size += kept.size
        self._next += 1
        while self._size > self._room:
            self._forget(next(iter(self._kept)))

    def recall(self, key: Hashable, route: Route | None, prompt: Sequence[int]) -> Recalled | None:
        """A copy of the longest beginning of a prompt that is remembered under this key, if any is."""
        way = _way(route)
        if way is None:
            return None
        asked = torch.tensor(prompt)
        lengths = {place: kept.shared(asked) for place, kept in self._kept.items() if kept.fits(key, way)}
        best = max(lengths, key=lambda place: lengths[place], default=None)
        if best is None or lengths[best] < SHORTEST:
            return None
        self._kept.move_to_end(best)
        kept, length = self._kept[best], lengths[best]
        spoken = None if kept.spoken is None else kept.spoken.of(slice(0, length))
        return Recalled(length, kept.strand.beginning(length), spoken)

    def _forget_what_it_replaces(self, newer: Kept, way: Way) -> None:
        """Earlier turns of the same conversation, and what belongs to index versions that are gone."""
        for place, kept in list(self._kept.items()):
            within = kept.fits(newer.key, way) and kept.shared(newer.tokens) == len(kept.tokens)
            if kept.gone or within:
                self._forget(place)

    def _forget(self, place: int) -> None:
        self._size -= self._kept.pop(place).size


def _way(route: Route | None) -> Way | None:
    """What keys and values come of, so routed; None: no other answer is known to leave the same."""
    if route is None or not route.seats:
        return BASE
    return None if route.rule is None else Way(route.pack, route.rule)
