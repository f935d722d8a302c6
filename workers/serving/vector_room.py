"""Which routing vectors of a version are in the memory for experts, where that is bounded.

A quarter of it is for the vectors of live versions, so that a next one fits beside each, and half of it stays
for those who are heard. Where vectors need more than is left for their library, an excerpt of them is held
(see `routing.excerpts`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from routing import excerpts
from routing.aside import Aside
from routing.census import Census, census
from routing.index import ExpertEntry
from routing.pack import Pack
from routing.residence import Residence, TooLarge, megabytes
from routing.resident import Shelf
from routing.store import IndexStore
from workers.serving.promises import NotEnoughMemory

PART = 4  # of the memory for experts live versions' vectors may take one in so many


@dataclass(frozen=True)
class VectorRoom:
    """Room for vectors of one in so many `parts` of each expert's modules, about `size` bytes.

    `share` is what these are of the experts' bytes in the store.
    """

    parts: int = 1
    size: int = 0
    share: float = 1.0
    near: Residence | None = None
    aside: Aside | None = None

    def of(self, entries: Sequence[ExpertEntry]) -> int:
        """About how many bytes of these experts' vectors are held."""
        return math.ceil(self.share * sum(one.vectors_size for one in entries))

    def while_read(self, entries: Sequence[ExpertEntry]) -> int:
        """The same while they are read: twice, beside all of one expert's where an excerpt is taken of it."""
        whole = 0 if self.parts == 1 else max((one.vectors_size for one in entries), default=0)
        return 2 * self.of(entries) + whole

    def taken_by(self, pack: Pack) -> Pack:
        """The pack, which keeps the room: as much as it takes, now that this is known."""
        if self.near is None or self.aside is None:
            return pack
        self.near.correct(self.aside, pack.vector_bytes)
        return replace(pack, room=self.aside)


def room_for_version(
    shelf: Shelf | None,
    library: str,
    store: IndexStore,
    experts: Sequence[ExpertEntry],
    previous: Pack | None,
) -> VectorRoom:
    """Room for a version of the library; NotEnoughMemory if it needs more than others leave of a quarter.

    An excerpt that was made smaller once stays so for as long as the library is served: to widen it all of
    its experts would have to be read again.
    """
    if shelf is None:
        return VectorRoom()
    near, found = shelf.near, census(store, experts)
    left = near.whole // PART - near.aside_of_others(library)
    parts = max(found.parts_for(left), 1 if previous is None else previous.parts)
    wanted = _wanted(found, parts, experts)
    if wanted.size > left:
        more = megabytes(near.whole + PART * (wanted.size - left))
        raise NotEnoughMemory(
            f"routing vectors at {excerpts.FEWEST} modules of each expert, by which prompts are judged, need "
            f"{megabytes(wanted.size)}, expected at most {megabytes(max(0, left))}, what other libraries "
            f"leave of a quarter of --expert-megabytes: it would fit in {more}"
        )
    return _room(near, library, wanted)


def room_for_guests(
    shelf: Shelf | None, library: str, store: IndexStore, experts: Sequence[ExpertEntry], parts: int
) -> VectorRoom:
    """Room for a version of these experts, some of them private; errors as `room_for_version`."""
    if shelf is None:
        return VectorRoom()
    return _room(shelf.near, library, _wanted(census(store, experts), parts, experts))


def _wanted(found: Census, parts: int, experts: Sequence[ExpertEntry]) -> VectorRoom:
    size = found.size(parts)
    return VectorRoom(parts, size, size / max(1, sum(one.vectors_size for one in experts)))


def _room(near: Residence, library: str, wanted: VectorRoom) -> VectorRoom:
    try:
        return replace(wanted, near=near, aside=near.set_aside(library, wanted.size))
    except TooLarge as error:
        raise NotEnoughMemory(
            f"its routing vectors need {megabytes(wanted.size)}, with those of other versions in memory "
            f"{megabytes(error.needed)}: expected at most {megabytes(error.limit)}, half of "
            "--expert-megabytes"
        ) from error


def vectors_in_words(pack: Pack) -> str:
    """What the log says of a version's vectors."""
    part = "" if pack.parts == 1 else f", at one in {pack.parts} of each one's modules"
    return f"whose routing vectors take {megabytes(pack.vector_bytes)}{part}"
