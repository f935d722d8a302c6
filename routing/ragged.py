"""Ragged passes: pieces of many answers in one forward pass of the base, each with its own memory and route.

The tokens of all pieces lie behind each other in one row, so nothing is padded and every matrix product of
the base is shared. Only attention looks at the pieces one by one: each at its own keys and values. On a CPU a
compiled loop does that for all pieces of a single token (`routing.next_tokens`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from routing.next_tokens import Place, attend, attends, place_of

ATTENTION = "fletch"
FIRST_ROOM = 64  # tokens; doubled whenever it is full
NOT_A_MASK = torch.empty(1, 1, 1, 1)  # models hand on what has four axes as it is; attention here ignores it

Kept = Float[Tensor, "heads room width"]


@dataclass
class Strand:
    """The keys and values of one answer so far, layer by layer, with room to grow, for `most` tokens."""

    length: int = 0
    keys: dict[int, Kept] = field(default_factory=dict)
    values: dict[int, Kept] = field(default_factory=dict)
    most: int | None = None
    _places: dict[int, Place] = field(default_factory=dict, init=False, repr=False)
    _table: tuple[int, Int[Tensor, "layers 4"]] | None = field(default=None, init=False, repr=False)

    @property
    def size(self) -> int:
        """Bytes, the room to grow included. May be asked while another thread writes."""
        return sum(room.nbytes for held in (self.keys, self.values) for room in tuple(held.values()))

    def beginning(self, length: int) -> Strand:
        """A copy of what the first tokens left, without room to grow."""
        keys = {layer: kept[:, :length].clone() for layer, kept in self.keys.items()}
        values = {layer: kept[:, :length].clone() for layer, kept in self.values.items()}
        return Strand(length, keys, values)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep what a pass made of tokens behind `length`; all keys and values including theirs, as views.

        A pass that fails later leaves no trace: what lies behind `length` is written over.
        """
        end = self.length + keys.shape[1]
        rooms = self.rooms(layer, keys, values, keys.shape[1])
        for room, new in zip(rooms, (keys, values), strict=True):
            room[:, self.length : end] = new
        return rooms[0][:, :end], rooms[1][:, :end]

    def rooms(self, layer: int, keys: Tensor, values: Tensor, tokens: int) -> tuple[Kept, Kept]:
        """Where keys and values like these are kept, with room for so many tokens behind `length`."""
        end = self.length + tokens
        return self._room(self.keys, layer, keys, end), self._room(self.values, layer, values, end)

    def place(self, layer: int, keys: Tensor, values: Tensor) -> Place:
        """What a compiled loop has to know of these rooms, which have one for the next token."""
        known = self._places.get(layer)
        if known is None or known.room <= self.length:
            known = self._places[layer] = place_of(*self.rooms(layer, keys, values, tokens=1))
        return known

    def table(self) -> Int[Tensor, "layers 4"]:
        """The addresses of each layer's keys and values, and for how many tokens either have room.

        There is room for one token more than was read; for it they may have moved. On the CPU, in the order
        of the layers, and true until the next `write` or `table`. For strands that were written to.
        """
        if self._table is None or self._table[0] <= self.length:
            pairs = [
                self.rooms(layer, self.keys[layer], self.values[layer], tokens=1)
                for layer in sorted(self.keys)
            ]
            rows = [(k.data_ptr(), v.data_ptr(), k.shape[1], v.shape[1]) for k, v in pairs]
            self._table = min(min(row[2:]) for row in rows), torch.tensor(rows)
        return self._table[1]

    def _room(
        self, held: dict[int, Kept], layer: int, like: Float[Tensor, "heads some width"], end: int
    ) -> Kept:
        room = held.get(layer)
        if room is None or room.shape[1] < end:
            larger = max(FIRST_ROOM, 2 * (0 if room is None else room.shape[1]))
            wanted = max(end, larger if self.most is None else min(larger, self.most))
            grown = like.new_empty(like.shape[0], wanted, like.shape[2])
            if room is not None:
                grown[:, : self.length] = room[:, : self.length]
            room = held[layer] = grown
            self._places.pop(layer, None)
            self._table = None
        return room


@dataclass(frozen=True)
class Piece:
    """Where the tokens of one answer lie in a pass, and where they are remembered."""

    strand: Strand
    tokens: slice

    @property
    def single(self) -> bool:
        """Whether it is one token, as of an answer that is being written."""
        return self.tokens.stop - self.tokens.start == 1

    def keep(self) -> None:
        """The pass is through: what was written stays."""
        self.strand.length += self.tokens.stop - self.tokens.start


_PIECES: ContextVar[Sequence[Piece]] = ContextVar("pieces", default=())

# Layer, then its query, key and value [tokens, heads, width], scaling and window; to [tokens, heads, width].
Attend = Callable[[int, Tensor, Tensor, Tensor, float, int | None], Tensor]
_ATTEND: ContextVar[Attend | None] = ContextVar("attend", default=None)


@contextmanager
def ragged(pieces: Sequence[Piece]) -> Iterator[None]:
    """Passes inside read pieces. Until one of them is told to `keep`, its strand is as long as it was."""
    token = _PIECES.set(pieces)
    try:
        yield
    finally:
        _PIECES.reset(token)


@contextmanager
def attended_by(attend: Attend) -> Iterator[None]:
    """Passes inside read one token of each answer; this function knows where the others are remembered."""
    token = _ATTEND.set(attend)
    try:
        yield
    finally:
        _ATTEND.reset(token)


class Strands:
    """Stands where a pass expects a cache: keys and values go on as they are, attention keeps them."""

    is_compileable = False

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """What attention is given."""
        return keys, values

    def get_seq_length(self, *_: Any) -> int:
        """Positions are named by whoever runs the pass, so nobody counts from here."""
        return 0


def inputs(ids: Sequence[int], positions: Sequence[int], device: torch.device) -> dict[str, Any]:
    """What a ragged pass gives to a model: tokens, and where each is in its text; no cache and no mask."""
    return {
        "input_ids": torch.tensor([ids], device=device),
        "position_ids": torch.tensor([positions], device=device),
        "attention_mask": NOT_A_MASK,
        "past_key_values": Strands(),
        "use_cache": True,
    }


def attention(
    module: Any,
    query: Float[Tensor, "batch heads tokens width"],
    key: Float[Tensor, "batch kept_heads tokens width"],
    value: Float[Tensor, "batch kept_heads tokens width"],
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[Float[Tensor, "batch tokens heads width"], None]:
    """Attention as transformers calls it: piece by piece in a ragged pass, elsewhere torch's own."""
    if (by_table := _ATTEND.get()) is not None:
        rows = [part[0].transpose(0, 1) for part in (query, key, value)]
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        found = by_table(module.layer_idx, rows[0], rows[1], rows[2], scale, sliding_window)
        return found.unsqueeze(0), None
    pieces = _PIECES.get()
    if not pieces:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward  # noqa: PLC0415 - as below

        rest["sliding_window"] = sliding_window
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)
        return output, None
    read = _read(pieces, module.layer_idx, query[0], key[0], value[0], scaling, sliding_window)
    return read.unsqueeze(0), None


def _read(
    pieces: Sequence[Piece],
    layer: int,
    query: Float[Tensor, "heads tokens width"],
    key: Float[Tensor, "kept_heads tokens width"],
    value: Float[Tensor, "kept_heads tokens value_width"],
    scaling: float | None,
    window: int | None,
) -> Float[Tensor, "tokens heads value_width"]:
    """Single tokens by one loop where that can be, whoever is beside them; the others piece by piece."""
    compiled = attends(query, key, value)
    single = [piece for piece in pieces if piece.single] if compiled else []
    several = [piece for piece in pieces if not piece.single] if single else pieces
    parts = [_attend(piece, layer, query, key, value, scaling, window) for piece in several]
    if not single:
        return (parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)).transpose(0, 1)
    places = [piece.strand.place(layer, key, value) for piece in single]
    lengths = [piece.strand.length for piece in single]
    rows = [piece.tokens.start for piece in single]
    read = attend(query, key, value, rows, lengths, places, scaling=scaling, window=window)
    for piece, part in zip(several, parts, strict=True):
        read[piece.tokens] = part.transpose(0, 1)
    return read


def _attend(
    piece: Piece,
    layer: int,
    query: Float[Tensor, "heads tokens width"],
    key: Float[Tensor, "kept_heads tokens width"],
    value: Float[Tensor, "kept_heads tokens width"],
    scaling: float | None,
    window: int | None,
) -> Float[Tensor, "heads piece width"]:
    mine = piece.tokens
    keys, values = piece.strand.write(layer, key[:, mine], value[:, mine])
    asking = query[:, mine]
    # A prompt's first piece needs no mask: what torch does instead leaves out what nobody sees.
    begins = asking.shape[1] == keys.shape[1] and (window is None or keys.shape[1] <= window)
    return scaled_dot_product_attention(
        asking.unsqueeze(0),
        keys.unsqueeze(0),
        values.unsqueeze(0),
        attn_mask=None if begins else _seen(asking.shape[1], keys.shape[1], window, query.device),
        is_causal=begins,
        scale=scaling,
        enable_gqa=len(keys) != len(asking),
    )[0]


def _seen(
    tokens: int, kept: int, window: int | None, device: torch.device
) -> Bool[Tensor, "tokens kept"] | None:
    """What each token sees: everything up to itself, or up to a window; None where that is everything."""
    narrow = window is not None and kept > window
    if tokens == 1 and not narrow:
        return None
    own = torch.arange(kept - tokens, kept, device=device).unsqueeze(1)
    other = torch.arange(kept, device=device)
    seen = other <= own
    return seen & (other > own - window) if narrow and window is not None else seen


def register() -> None:
    """Make `ATTENTION` known to transformers; what that takes is slow to load, so not every process does."""
    from transformers import AttentionInterface, AttentionMaskInterface  # noqa: PLC0415
    from transformers.masking_utils import sdpa_mask  # noqa: PLC0415

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
