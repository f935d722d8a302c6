"""Room for index versions in memory: what it takes to assemble one is counted before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from routing.base import Base
from routing.index import ExpertEntry
from routing.pack import Pack
from routing.packing import key_of
from routing.resident import Shelf
from workers.serving.free_memory import free_memory
from workers.serving.promises import PROMISES, Found, NotEnoughMemory, Promise, nothing
from workers.serving.vector_room import VectorRoom


@dataclass(frozen=True)
class Room:
    """Where factors belong, if not all of them are in memory, and how much of what is free is for others."""

    shelf: Shelf | None = None
    kept: Callable[[], int] = nothing

    def for_version(
        self, experts: Sequence[ExpertEntry], known: Pack | None, base: Base, vectors: VectorRoom
    ) -> AbstractContextManager[Promise]:
        """Room for a version: a first one's factors are read one by one into their final place.

        One that follows lays the vectors that it takes over beside those that answers still need, and factors
        too where the new ones cannot be added to them. NotEnoughMemory if it would end the process.
        """
        if known is None:
            largest = sorted(experts, key=lambda entry: entry.factors_size)[-1:]
            return self._promised(0, experts, largest, base, vectors)
        fresh, taken_over = fresh_and_kept(experts, known)
        copied = vectors.of(taken_over)
        stays, new = factors_size(taken_over, base), factors_size(fresh, base)
        copied += stays if self.shelf is None and not known.takes(new, stays) else 0
        return self._promised(copied, fresh, fresh, base, vectors)

    def for_guests(
        self, guests: Sequence[ExpertEntry], known: Pack, base: Base, vectors: VectorRoom
    ) -> AbstractContextManager[Promise]:
        """Room for a version with guests, as `for_version`: for them, and for what of `known` is copied."""
        grows = known.takes(factors_size(guests, base), known.owned_bytes)
        copied = max(vectors.size, known.nbytes - known.factor_bytes) + (0 if grows else known.owned_bytes)
        return self._promised(copied, guests, guests, base, vectors)

    def _promised(
        self,
        copied: int,
        read: Sequence[ExpertEntry],
        twice: Sequence[ExpertEntry],
        base: Base,
        vectors: VectorRoom,
    ) -> AbstractContextManager[Promise]:
        """Room for `copied` bytes and experts that are to be read.

        For a moment their vectors lie in memory twice, read and packed, and of some the factors too. With a
        shelf factors are read one by one, and it may yet be filled. What others are about to take is not
        free, nor is what is left alone. Of a spread base all counts where its inputs go.
        """
        read_vectors = vectors.while_read(read)
        factors = factors_size(read, base)
        if self.shelf is None:
            room = factors + factors_size(twice, base)
        else:
            aside = max((factors_size([entry], base) for entry in read), default=0)  # where they are proven
            room = min(factors, self.shelf.near.spare) + aside
        needed = copied + read_vectors + room

        def refusal(found: Found) -> NotEnoughMemory:
            hint = (
                "; --expert-megabytes says how much of them to hold"
                if self.shelf is None
                else f"; {(copied + read_vectors) / 2**30:.2f} GiB of them for routing vectors"
            )
            return NotEnoughMemory(
                f"{len(read)} experts{' beside those of the version' if copied else ''} need "
                f"{needed / 2**30:.2f} GiB while they are assembled, {found}{hint}"
            )

        return PROMISES.promised(base.device, needed, free=free_memory, kept=self.kept, refusal=refusal)


UNBOUNDED = Room()


def fresh_and_kept(
    experts: Sequence[ExpertEntry], known: Pack | None
) -> tuple[list[ExpertEntry], list[ExpertEntry]]:
    """Those that are to be read, and those that are taken over."""
    keys = set(() if known is None else known.keys)
    fresh = [entry for entry in experts if key_of(entry) not in keys]
    return fresh, [entry for entry in experts if key_of(entry) in keys]


def factors_size(experts: Sequence[ExpertEntry], base: Base) -> int:
    """Bytes of their factors in memory; files have float32."""
    return sum(entry.factors_size for entry in experts) * base.dtype.itemsize // torch.float32.itemsize
