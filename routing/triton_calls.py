"""Routing and attention on a GPU: which kernels are launched, how often, into which memory.

Imports triton: ask `routing.accelerated` for it.
"""

from __future__ import annotations

import torch
import triton
from jaxtyping import Float, Int
from torch import Tensor

from routing import triton_attention, triton_blocks, triton_choosing, triton_mixing
from routing.pack import ModulePack
from routing.routers import Selection
from routing.trusted import Partly

FEW = (
    64  # tokens: up to so many, each pair reads its expert's rows itself; beyond, pairs are sorted by expert
)
TILE, CHUNK = triton_blocks.TILE.value, triton_blocks.CHUNK.value
STAGED_BYTES = 256  # of one token's key: wider ones are not read ahead, for which shared memory is too small
TEMPERATURES = 1e-30, 1e30  # beyond, a float32 has no room, and every weight is 0, 1 or equal already


def choose(scores: Float[Tensor, "tokens experts"], temperature: float, top_k: int) -> Selection:
    """The k best finite scores of each token and their softmax, as `routing.routers.best` says it."""
    with torch.cuda.device_of(scores):  # triton launches on the current device, whatever it is given
        return _chosen(scores.unsqueeze(0), temperature, top_k, absolute=False)


def arrow(
    hidden: Float[Tensor, "tokens d_in"], module: ModulePack, temperature: float, top_k: int
) -> Selection:
    """The k experts with the largest |v.x| of each token, and their weights."""
    with torch.cuda.device_of(hidden):
        if len(module) <= TILE:
            return _routed(hidden, module.vectors.prototypes, temperature, top_k)
        return _chosen(_products(hidden, module.vectors.prototypes), temperature, top_k, absolute=True)


def mix(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """Add to each token's row of `output` the sum over its experts of weight * b_e.T (a_e x), in place.

    Who has no weight adds nothing, not even what is not finite. What fails has added nothing, except where it
    says so by `Partly`.
    """
    if not experts.widest:
        return
    (tokens, d_in), d_out, k = hidden.shape, output.shape[1], selection.experts.shape[1]
    chosen, weights = selection.experts.contiguous(), selection.weights.contiguous()
    few = tokens <= FEW
    each, wide, slots = (1, 64, k) if few else (TILE, 128, 1)
    order = None if few else chosen.T.contiguous().sort(dim=1, stable=True).indices
    tiles, blocks = triton.cdiv(tokens, each), triton.cdiv(experts.widest, TILE)
    parts, chunks = _parts(tokens, d_in)
    room = blocks * TILE
    inside = hidden.new_empty(parts, tokens * k, room, dtype=torch.float32)
    pairs = (experts.row_spans, chosen, weights, order, tokens)
    fixed = {"K": k, "EACH": each, "num_warps": 2}
    with torch.cuda.device_of(hidden):
        triton_mixing.shrink[(k * tiles, blocks, parts)](
            inside, hidden, experts.a, *pairs, tiles, d_in, room, chunks, **fixed
        )
        for slot in range(0, k, slots):
            try:
                triton_mixing.expand[(tiles, triton.cdiv(d_out, wide))](
                    output, inside, experts.b, *pairs, slot, slots, d_out, room, parts, WIDE=wide, **fixed
                )
            except Exception as error:
                if slot:
                    raise Partly(str(error)) from error
                raise


def attend(
    query: Float[Tensor, "answers heads width"],
    key: Float[Tensor, "answers kept_heads width"],
    value: Float[Tensor, "answers kept_heads wide"],
    table: Int[Tensor, "4 answers"],
    lengths: Int[Tensor, " answers"],
    scaling: float,
    window: int | None,
) -> Float[Tensor, "answers heads wide"]:
    """Attention of the next token of each answer to all that it has read, and to itself.

    `table` says where the answers' keys and values lie [kept_heads, room, width], in the dtype of `key` and
    `value` (`routing.ragged.Strand.table`); there those of the token are kept, behind the `lengths` tokens
    that were read. With a window a token sees so many, itself included.
    """
    (answers, heads, width), (_, kept, wide) = query.shape, value.shape
    group, parts = heads // kept, triton_attention.PARTS.value
    sums = query.new_empty(answers, kept, parts, group, wide, dtype=torch.float32)
    peaks = query.new_empty(answers, kept, parts, group, 2, dtype=torch.float32)
    output = query.new_empty(answers, heads, wide)
    sizes = {"KEPT": kept, "GROUP": group, "WIDE": wide, "WIDE_ROOM": _room(wide), "num_warps": 4}
    more = {"ROWS": _room(group), "WIDTH": width, "WIDTH_ROOM": _room(width)}
    more["num_stages"] = 3 if _room(max(width, wide)) * key.itemsize <= STAGED_BYTES else 1
    seen = window or 0
    asked = [part.contiguous() for part in (query, key, value)]
    with torch.cuda.device_of(query):
        triton_attention.attend[(answers, kept, parts)](
            sums, peaks, *asked, table, lengths, scaling, answers, seen, **sizes, **more
        )
        triton_attention.join[(answers, heads)](output, sums, peaks, lengths, seen, **sizes)
    return output


def _room(size: int) -> int:
    """What a tensor core multiplies at least, and kernels can count to: a power of two."""
    return max(TILE, triton.next_power_of_2(size))


def _routed(
    hidden: Float[Tensor, "tokens d_in"],
    prototypes: Float[Tensor, "experts d_in"],
    temperature: float,
    top_k: int,
) -> Selection:
    (tokens, width), experts = hidden.shape, len(prototypes)
    selection = _empty(hidden, min(top_k, experts))
    triton_choosing.route[(triton.cdiv(tokens, TILE),)](
        hidden,
        prototypes,
        selection.experts,
        selection.weights,
        _in_range(temperature),
        tokens,
        experts,
        width,
        triton.cdiv(width, CHUNK),
        **_places(selection),
        num_warps=4,
    )
    return selection


def _products(
    hidden: Float[Tensor, "tokens d_in"], prototypes: Float[Tensor, "experts d_in"]
) -> Float[Tensor, "parts tokens experts"]:
    """v.x in float32; the parts are still to be summed."""
    (tokens, width), experts = hidden.shape, len(prototypes)
    parts, chunks = _parts(tokens, width)
    tile = TILE if tokens <= FEW else 4 * TILE
    scores = hidden.new_empty(parts, tokens, experts, dtype=torch.float32)
    triton_choosing.score[(triton.cdiv(tokens, tile), triton.cdiv(experts, TILE), parts)](
        scores, hidden, prototypes, tokens, experts, width, chunks, TOKENS=tile, num_warps=2
    )
    return scores


def _chosen(
    scores: Float[Tensor, "parts tokens experts"], temperature: float, top_k: int, *, absolute: bool
) -> Selection:
    parts, tokens, experts = scores.shape
    selection = _empty(scores[0], min(top_k, experts))
    triton_choosing.choose[(tokens,)](
        scores,
        selection.experts,
        selection.weights,
        _in_range(temperature),
        tokens,
        experts,
        parts,
        **_places(selection),
        ABSOLUTE=absolute,
        num_warps=4,
    )
    return selection


def _parts(tokens: int, width: int) -> tuple[int, int]:
    """Into how many parts a sum over columns falls, and of how many chunks: few tokens need more programs."""
    chunks = triton.cdiv(width, CHUNK)
    return (chunks, 1) if tokens <= FEW else (1, chunks)


def _empty(beside: Float[Tensor, "tokens _"], k: int) -> Selection:
    shape = (len(beside), k)
    experts = beside.new_empty(shape, dtype=torch.int64)
    return Selection(experts, beside.new_empty(shape, dtype=torch.float32))


def _places(selection: Selection) -> dict[str, int]:
    k = selection.experts.shape[1]
    return {"K": k, "PLACES": triton.next_power_of_2(k)}


def _in_range(temperature: float) -> float:
    least, most = TEMPERATURES
    return min(max(temperature, least), most)
