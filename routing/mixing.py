"""Adding the chosen experts' updates to a module's output, each in the way that suits the number of tokens.

All ways compute the sum over the chosen experts of weight * b_e.T (a_e x): a mixture of outputs, without
cross terms. None touches an expert that was not chosen, except `add_dense`, for when that costs less.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from routing.pack import ModulePack
from routing.routers import Selection

FEW_PAIRS = 16  # up to so many (token, expert) pairs, going through them one by one costs least
SMALL_RANK_SPACE = 128  # up to so many rows, two dense products cost less than any grouping


def add_mixture(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """Add each token's mixture of expert updates to its row of `output`, in place."""
    pairs = selection.experts.numel()
    everyone = selection.experts.shape[1] == len(experts)
    if pairs <= FEW_PAIRS and output.device.type == "cpu":
        add_one_by_one(output, hidden, selection, experts)
    elif everyone or (len(experts.a) <= SMALL_RANK_SPACE and pairs > FEW_PAIRS):
        add_dense(output, hidden, selection, experts)
    elif pairs <= FEW_PAIRS:
        add_gathered(output, hidden, selection, experts)
    else:
        add_grouped(output, hidden, selection, experts)


def add_one_by_one(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """Decoding on a CPU: each pair reads its expert's rows where they lie."""
    bounds = experts.bounds
    chosen = zip(selection.experts.tolist(), selection.weights.tolist(), strict=True)
    for x, y, (rows, weights) in zip(hidden, output, chosen, strict=True):
        for row, weight in zip(rows, weights, strict=True):
            mine = slice(bounds[row], bounds[row + 1])
            y.addmv_(experts.b[mine].T, torch.mv(experts.a[mine], x), alpha=weight)


def add_gathered(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """Decoding on an accelerator: the host never waits to learn which experts were chosen."""
    rows = experts.row_table[selection.experts]
    weights = selection.weights.to(hidden.dtype).unsqueeze(-1) * experts.row_mask[selection.experts]
    inside = torch.einsum("tkrd,td->tkr", experts.a[rows], hidden) * weights
    output += functional.embedding_bag(
        rows.flatten(1), experts.b, per_sample_weights=inside.flatten(1), mode="sum"
    )


def add_dense(
    output: Float[Tensor, "tokens d_out"],
    hidden: Float[Tensor, "tokens d_in"],
    selection: Selection,
    experts: ModulePack,
) -> None:
    """All rows at once, those of experts that were not chosen with a weight of zero."""
    weights = torch.zeros(len(hidden), len(experts), device=output.device)
    weights.scatter_(1, selection.experts, selection.weights)
    inside = (hidden @ experts.a.T) * weights.to(hidden.dtype)[:, experts.owners]
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
    tokens = order // selection.experts.shape[1]
    rows_a, rows_b = experts.a.split(experts.ranks), experts.b.split(experts.ranks)
    groups = zip(hidden[tokens].split(counts), rows_a, rows_b, strict=True)
    updates = torch.cat([torch.mm(torch.mm(x, a.T), b) for x, a, b in groups if len(x)])
    weights = selection.weights.flatten()[order].to(output.dtype)
    output.index_add_(0, tokens, updates.mul_(weights.unsqueeze(-1)))
