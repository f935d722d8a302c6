"""Attention of the tokens that many answers read one by one, in one compiled call for a layer, on a CPU.

While answers are written a pass reads a token of each. Torch's attention of one answer after the other, with
the copies and slices around it, took a fifth of a step and more. Whether a piece is a single token is all
that decides who attends, never who is beside it: what an answer gets is, to the bit, what it gets alone.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from routing.threads import side_by_side
from routing.trusted import tried, withdraw

log = logging.getLogger(__name__)
EVERYTHING = sys.maxsize  # tokens of a window
INSTEAD = "answers are attended to one by one, by torch"
SHARE = 2**19  # numbers of keys and values that are worth waking another thread for


class Place(NamedTuple):
    """Where keys and values of one answer and layer are kept, for so many tokens, and how they are shaped."""

    room: int
    keys_at: int
    values_at: int
    shape: tuple[int, int, int]  # heads, width of keys, width of values


def place_of(
    keys: Float[Tensor, "kept_heads room width"], values: Float[Tensor, "kept_heads room value_width"]
) -> Place:
    """Of these rooms, while they are where they are. ValueError where a loop could not write there."""
    heads, room, width = keys.shape
    for held in (keys, values):
        plain = held.is_cpu and held.dtype == torch.float32 and held.is_contiguous()
        if not plain or held.shape[:2] != keys.shape[:2]:
            raise ValueError(
                f"rooms are {heads} heads by {room} tokens of float32 in memory, row behind row, not "
                f"{tuple(held.shape)} of {held.dtype} on {held.device}"
            )
    return Place(room, keys.data_ptr(), values.data_ptr(), (heads, width, values.shape[2]))


def attends(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether these are for the loop: float32 on a CPU, and nobody learns from them."""
    if torch.is_grad_enabled():
        return False
    for tensor in (query, key, value):
        if not (tensor.is_cpu and tensor.dtype == torch.float32):
            return False
    return loops() is not None


def attend(  # noqa: PLR0913 - as a layer has them
    query: Float[Tensor, "heads tokens width"],
    key: Float[Tensor, "kept_heads tokens width"],
    value: Float[Tensor, "kept_heads tokens value_width"],
    rows: Sequence[int],
    lengths: Sequence[int],
    places: Sequence[Place],
    *,
    scaling: float | None = None,
    window: int | None = None,
) -> Float[Tensor, "tokens heads value_width"]:
    """What the tokens in these rows read, each in its row; the others are left as they come.

    Its key and value are kept in its answer's place, behind as many as `lengths` says. ValueError where that
    has no room, or is one for other heads.
    """
    found: Any = loops()
    if window is not None and window < 1:
        raise ValueError(f"a window is of one token or more, not of {window}")
    heads, tokens, width = query.shape
    kept_heads, _, value_width = value.shape
    shape = (kept_heads, width, value_width)
    told = []
    for row, length, place in zip(rows, lengths, places, strict=True):
        if place.shape != shape or place.room <= length or heads % kept_heads:
            raise ValueError(f"{heads} heads, of {shape} kept, want a place for {length + 1} tokens: {place}")
        told.append((row, length, place.room, place.keys_at, place.values_at))
    output = query.new_empty(tokens, heads, value_width)
    arrays = [output.numpy(), *(part.transpose(0, 1).contiguous().numpy() for part in (query, key, value))]
    scale, seen = width**-0.5 if scaling is None else scaling, EVERYTHING if window is None else window
    given = (*arrays, np.array(told), scale, seen)
    kept = sum(lengths) * kept_heads * (width + value_width)
    threads = min(torch.get_num_threads(), len(places) * kept_heads, max(1, kept // SHARE))
    try:
        side_by_side(found.attend, [(*given, first, threads) for first in range(threads)])
    except Exception as error:
        give_up(error)
        raise
    return output


@cache
def loops() -> Any | None:
    """The compiled loop; None, and one line in the log, where it is not to be had."""
    return tried("routing.attention_loops", _try, log.warning, INSTEAD)


def give_up(error: Exception) -> None:
    """The loop has failed: torch does it from now on, and the pass is to be run again."""
    withdraw(error, log.warning, INSTEAD)
    loops.cache_clear()


def _try(found: Any) -> None:
    """Tokens of short texts, one in a window; ArithmeticError unless torch says the same of them."""
    numbers = (torch.arange(400) * 0.37).sin()
    query, key, value = numbers[:48].view(2, 4, 6), numbers[48:72].view(2, 2, 6), numbers[72:92].view(2, 2, 5)
    for length, window in ((0, EVERYTHING), (6, EVERYTHING), (6, 3)):
        keys, values = numbers[100:184].view(2, 7, 6).clone(), numbers[200:270].view(2, 7, 5).clone()
        output = torch.empty(2, 4, 5)
        places = np.array([[1, length, 7, keys.data_ptr(), values.data_ptr()]])
        found.attend(*(part.numpy() for part in (output, query, key, value)), places, 0.5, window, 0, 1)
        first = max(0, length + 1 - window)
        keys[:, length], values[:, length] = key[1], value[1]
        expected = scaled_dot_product_attention(
            query[1].unsqueeze(1),
            keys[:, first : length + 1].repeat_interleave(2, dim=0),
            values[:, first : length + 1].repeat_interleave(2, dim=0),
            scale=0.5,
        ).squeeze(1)
        if not torch.allclose(output[1], expected, atol=1e-6):
            raise ArithmeticError(
                f"of {length + 1} tokens it reads {output[1].tolist()}, not {expected.tolist()}"
            )
