"""Memory for the factors of one module that index versions have in common.

A new version mostly is the old one with an expert more or less. New rows are written behind those that are
there, and rows of experts who left stay for the versions that still have them: nothing is copied, and what
one version reads no other one writes. Laid out anew is only what has no room left, or too many rows that are
nobody's.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

# Of the rows laid out so many are left free behind them: memory takes no room before it is written.
SPARE = 1 / 8
# Laid out anew is what has fewer rows of a version's own than so many of all rows.
OWNED = 3 / 4

Spans = NDArray[np.int64]  # [members, 2]: a member's first row, and the one behind its last


class Half(NamedTuple):
    """The rows of one expert at one module, of both factors."""

    a: Float[Tensor, "rank d_in"]
    b: Float[Tensor, "rank d_out"]


class Laid(NamedTuple):
    """All rows so far, those of other versions among them, and where the ones that were added are."""

    a: Float[Tensor, "rows d_in"]
    b: Float[Tensor, "rows d_out"]
    added: Spans


class Growing:
    """Rows of both factors, to which more can be added; by several threads."""

    def __init__(self, a: Float[Tensor, "room d_in"], b: Float[Tensor, "room d_out"], used: int = 0) -> None:
        """Of these rows the first `used` are written."""
        self._a, self._b, self._used = a, b, used
        self._lock = threading.Lock()

    @property
    def spare_bytes(self) -> int:
        """How much may be added, in bytes."""
        return (len(self._a) - self._used) * self._row_bytes

    @property
    def used_bytes(self) -> int:
        """What is written so far, by whichever version, in bytes."""
        return self._used * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return (self._a.shape[1] + self._b.shape[1]) * self._a.itemsize

    def holds(self, a: Float[Tensor, "rows d_in"], b: Float[Tensor, "rows d_out"]) -> bool:
        """Whether these are all the rows that are written here."""
        here = a.data_ptr() == self._a.data_ptr() and b.data_ptr() == self._b.data_ptr()
        return here and len(a) == len(b) == self._used

    def add(self, halves: Sequence[Half], owned: int | None = None) -> Laid | None:
        """Write the rows of these experts behind all others.

        None where they have no room, or where too many rows would be nobody's in a version that has `owned`
        of them already (all, if it is not said).
        """
        ranks = [len(half.a) for half in halves]
        with self._lock:  # until all is written: what comes after has these rows among its own
            spans = spans_of(ranks) + self._used
            end = self._used + sum(ranks)
            left = 0 if owned is None else self._used - owned
            if end > len(self._a) or left > (1 - OWNED) * end:
                return None
            with torch.inference_mode(mode=self._a.is_inference()):
                for half, (first, last) in zip(halves, spans.tolist(), strict=True):
                    self._a[first:last] = half.a
                    self._b[first:last] = half.b
            self._used = end
        return Laid(self._a[:end], self._b[:end], spans)

    def copy(
        self, a: Float[Tensor, "others d_in"], b: Float[Tensor, "others d_out"], rows: Int[Tensor, " copied"]
    ) -> None:
        """Begin with these rows of others."""
        with torch.inference_mode(mode=self._a.is_inference()):
            torch.index_select(a, 0, rows, out=self._a[: len(rows)])
            torch.index_select(b, 0, rows, out=self._b[: len(rows)])
        self._used = len(rows)


def growing(rows: int, d_in: int, d_out: int, *, device: torch.device, dtype: torch.dtype) -> Growing:
    """Room for so many rows and, where memory that nobody has written costs nothing, for some more."""
    room = rows + int(rows * SPARE) if device.type == "cpu" else rows
    a, b = (torch.empty(room, width, device=device, dtype=dtype) for width in (d_in, d_out))
    return Growing(a, b)


def moved(
    a: Float[Tensor, "rows d_in"], b: Float[Tensor, "rows d_out"], spans: Spans, more: int
) -> tuple[Growing, Spans]:
    """The rows of these spans under each other in memory of their own, with room for so many more.

    And where they are now.
    """
    now = spans_of(spans[:, 1] - spans[:, 0])
    count = int(now[-1, 1]) if len(now) else 0
    here = torch.from_numpy(np.arange(count) + np.repeat(spans[:, 0] - now[:, 0], now[:, 1] - now[:, 0]))
    fresh = growing(count + more, a.shape[1], b.shape[1], device=a.device, dtype=a.dtype)
    fresh.copy(a, b, here.to(a.device))
    return fresh, now


def spans_of(ranks: Sequence[int] | NDArray[np.int64]) -> Spans:
    """Where the rows of experts with these ranks are, one behind the other."""
    ends = np.cumsum(np.asarray(ranks, dtype=np.int64))
    return np.stack([ends - ranks, ends], axis=1)


def under_each_other(parts: Sequence[Float[Tensor, "_rows width"]]) -> Float[Tensor, "rows width"]:
    """What lies so already, and is not a part of something much larger, is not copied."""
    return _whole(parts) if _are_a_whole(parts) else torch.cat(list(parts))


def _are_a_whole(parts: Sequence[Tensor]) -> bool:
    """Whether the parts lie behind each other in memory that holds nothing else, but for spare room."""
    memory, place = parts[0].untyped_storage(), 0
    for part in parts:
        alike = part.untyped_storage().data_ptr() == memory.data_ptr() and part.is_contiguous()
        if not alike or part.storage_offset() != place:
            return False
        place += part.numel()
    return place * parts[0].itemsize * (1 + SPARE) >= memory.nbytes()


def _whole(parts: Sequence[Float[Tensor, "_rows width"]]) -> Float[Tensor, "rows width"]:
    width = parts[0].shape[1]
    return parts[0].as_strided((sum(len(part) for part in parts), width), (width, 1), 0)
