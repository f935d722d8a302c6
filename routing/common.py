"""A prompt that several answers begin with, as the choices of one request do: it is read once, for all."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from routing.family import Memory
from routing.prefixes import Recalled
from routing.ragged import Strand

if TYPE_CHECKING:
    from routing.work import Work


class Common:
    """What the prompt has left so far. Any of the answers reads on, and all hear what came of it.

    Behind its last token each takes a memory of its own. For the thread alone on which they advance.
    """

    def __init__(self, memory: Memory | Strand, answers: int) -> None:
        self.memory = memory
        self.recalled: Recalled | None = None
        self.looked = False  # whether an earlier answer of the conversation was looked for
        self._left = answers

    def recall(self, found: Recalled | None) -> None:
        """Begin with what an earlier answer has read, if anything."""
        self.looked, self.recalled = True, found
        if found is not None:
            self.memory = found.strand

    def taken(self) -> Memory | Strand:
        """The memory for one of the answers: a copy, for the last one what the others copied."""
        self._left -= 1
        if not self._left:
            return self.memory
        if isinstance(self.memory, Strand):
            return self.memory.beginning(self.memory.length)
        return self.memory.copy()

    def leave(self) -> None:
        """One of the answers needs no memory any more."""
        self._left -= 1


def read_in_common(works: Sequence[Work]) -> None:
    """Have those of the works whose prompts are read alike read them once."""
    groups: dict[Hashable, list[Work]] = {}
    for work in works:
        if (way := work.read_like) is not None:
            groups.setdefault(way, []).append(work)
    for group in groups.values():
        if len(group) > 1:
            common = Common(group[0].memory, len(group))
            for work in group:
                work.join(common)
