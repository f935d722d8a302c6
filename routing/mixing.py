"""Adding the chosen experts' updates to a module's output, each in the way that suits the number of tokens.

All ways compute the sum over the chosen experts of weight * b_e.T (a_e x): a mixture of outputs, without
cross terms. None touches an expert that was not chosen, except `add_dense`, for when that costs less. An
expert without weight has no part in any, whatever it makes of a token: in float16 that may be infinite.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from routing import accelerated, compiled
from routing.accelerated import kernels_for
from routing.compiled import kernels, usable
from routing.pack import ModulePack
from routing.routers import Selection
from routing.scaled_pack import ScaledPack

FEW_PAIRS = 16  # up to so many (token, expert) pairs, going through them one by one costs least
SMALL_RANK_SPACE = 64  # up to so many rows, two dense products cost less than any grouping by torch


def add_mixture(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """Add each token's mixture of low-rank updates to its row of `output`, in place; see `add_scaled`."""
    pairs = selection.experts.numel()
    if not pairs or not len(experts.a):
        return
    if not _by_kernels(output, hidden, selection, experts):
        _by_torch_or_loops(output, hidden, selection, experts)


def _by_kernels(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> bool:
    """Whether a GPU's kernels have done it."""
    on_gpu = kernels_for(selection.experts.shape[1], hidden, output, experts.a)
    if on_gpu is None:
        return False
    try:
        on_gpu.mix(output, hidden, selection, experts)
    except Exception as error:  # noqa: BLE001 - whatever a compiler or a driver may say
        accelerated.give_up(error, output)
        return False
    return True


def _by_loops(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> bool:
    """Whether compiled loops have done it. Those fail, if ever, before they write."""
    if output.is_cpu and output.dtype != torch.float32:
        compiled.say_that_torch_mixes(output.dtype)
        return False
    loops = kernels() if usable(output, hidden) and experts.arrays is not None else None
    if loops is None:
        return False
    try:
        add_compiled(loops, output, hidden, selection, experts)
    except Exception as error:  # noqa: BLE001 - as above
        compiled.give_up(error)
        return False
    return True


def _by_torch_or_loops(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    pairs = selection.experts.numel()
    everyone = selection.experts.shape[1] == len(experts)
    small = everyone or (len(experts.a) <= SMALL_RANK_SPACE and pairs > FEW_PAIRS)
    if not everyone and _by_loops(output, hidden, selection, experts):
        return
    if pairs <= FEW_PAIRS and output.device.type == "cpu":
        add_one_by_one(output, hidden, selection, experts)
    elif small:
        add_dense(output, hidden, selection, experts)
    elif pairs <= FEW_PAIRS:
        add_gathered(output, hidden, selection, experts)
    else:
        add_grouped(output, hidden, selection, experts)


def add_scaled(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    scaled: ScaledPack,
    weight: Float[Tensor, "d_out d_in"],
) -> None:
    """Add what the chosen experts do through the base's weight to the base's own `output`, in place.

    The scales are mixed, not the products: however many experts speak, outputs are scaled once, and the
    mixed inputs are multiplied with the weight once. Comes before anything else is added to `output`.
    """
    if not selection.experts.shape[1]:
        return
    chosen = (selection.experts, selection.weights)
    if scaled.output is not None:
        output.addcmul_(scaled.output.mixed(*chosen), output)
    if scaled.shift is not None:
        output += scaled.shift.mixed(*chosen)
    if scaled.input is not None:
        output += functional.linear(scaled.input.mixed(*chosen) * hidden, weight)


def add_compiled(
    loops: Any,
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """On a CPU with numba."""
    arrays = experts.arrays
    assert arrays is not None
    chosen, weights = selection.experts.contiguous().numpy(), selection.weights.contiguous().numpy()
    loops.mix(output.numpy(), hidden.numpy(), chosen, weights, arrays.a, arrays.b, arrays.spans)


def add_one_by_one(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """Decoding on a CPU without numba: each pair reads its expert's rows where they lie."""
    chosen = zip(selection.experts.tolist(), selection.weights.tolist(), strict=True)
    for x, y, (rows, weights) in zip(hidden, output, chosen, strict=True):
        for row, weight in zip(rows, weights, strict=True):
            if not weight:
                continue
            mine = experts.rows_of(row)
            y.addmv_(experts.b[mine].T, torch.mv(experts.a[mine], x), alpha=weight)


def add_gathered(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """Decoding on an accelerator: the host never waits to learn which experts were chosen."""
    inside = torch.einsum("tkrd,td->tkr", experts.a[experts.row_table[selection.experts]], hidden)
    _expand(output, inside, selection, experts)


def add_dense(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """All rows at once, those of experts that were not chosen with a weight of zero."""
    weights = selection.weights.new_zeros(len(hidden), len(experts) + 1)  # the last: nobody's rows
    weights.scatter_add_(1, selection.experts, selection.weights)  # an expert may be there twice, once for 0
    inside = _weighed(hidden @ experts.a.T, weights.to(hidden.dtype)[:, experts.owners])
    output.addmm_(inside, experts.b)


def add_grouped(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """Prefill: sort the (token, expert) pairs by expert; each reads its rows once for all its tokens."""
    chosen = selection.experts.flatten()
    order = chosen.argsort(stable=True)
    counts = torch.bincount(chosen, minlength=len(experts)).tolist()
    # index_select copies rows several times faster than an index in brackets does
    inputs = hidden.index_select(0, order // selection.experts.shape[1]).split(counts)
    shrunk = [
        functional.linear(x, experts.a[experts.rows_of(row)]).flatten()
        for row, x in enumerate(inputs)
        if len(x)
    ]
    inside = hidden.new_zeros(len(chosen), experts.row_mask.shape[1])
    inside[experts.row_mask[chosen.index_select(0, order)].bool()] = torch.cat(shrunk)
    in_order = torch.empty_like(inside).index_copy_(0, order, inside)
    _expand(output, in_order.view(*selection.experts.shape, -1), selection, experts)


def _expand(
    output: Float[Tensor, "tokens d_out"],
    inside: Float[Tensor, "tokens k widest"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """Weigh what is inside the experts and carry it out: a weighted sum of rows of `b` for each token."""
    shares = selection.weights.to(inside.dtype).unsqueeze(-1) * experts.row_mask[selection.experts]
    rows = experts.row_table[selection.experts].flatten(1)
    weighted = _weighed(inside, shares).flatten(1)
    output += functional.embedding_bag(rows, experts.b, per_sample_weights=weighted, mode="sum")


def _weighed(inside: Float[Tensor, "*rows"], shares: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
    """Their product, and nothing where there is no share: zero times infinity would be heard by all."""
    return (inside * shares).masked_fill_(shares == 0, 0.0)
