"""Routers: from the hidden states of some tokens to the experts that each is sent to, at one target module.

A router is a function of the hidden states, the experts that are present at the module, and the terms of the
request. `ROUTERS` is the list of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing import accelerated, compiled
from routing.accelerated import kernels_for
from routing.compiled import kernels, usable
from routing.pack import ModulePack
from routing.scores import SCORES, calibrated, evidence

MAGNITUDE = 0x7FFFFFFF  # all bits of a float32 but its sign
SHORT = 8  # LAG found its answers flat beyond about 5
ALWAYS_CALIBRATED = frozenset({"evidence", "two-stage"})
SCORED_BY = {"arrow": "arrow", "phatgoose": "gate", "spectral": "subspace", "delta-norm": "delta-norm"}
ALWAYS_FINITE = frozenset({"arrow", "delta-norm", "subspace"})  # scores that every expert has of every token
FROM_WEIGHTS = frozenset({"arrow", "spectral", "delta-norm", "evidence", "two-stage"})  # what experts do
READ_FACTORS = frozenset({"delta-norm", "spectral", "two-stage"})  # their scores do; others', vectors alone
QUERY_ROUTERS = frozenset({"classifier", "lm", "retrieval"})  # a prior over the whole prompt, alone


@dataclass(frozen=True)
class Terms:
    """How a request wants its tokens routed at one module.

    `allowed` are rows of the routing vectors (None: all of them); `electorate` is how many experts the
    request allows in the whole index, whether or not they are present at this module. `calibrated` asks for
    scores in deviations from their mean on neutral text; a token whose best score is below `abstain` keeps
    the plain base.

    `prior` and `shares` are what the whole prompt says of each row: what is added to its scores, and the
    mixing weight that a query router gives it, of all that it gives in the whole index.
    """

    top_k: int
    temperature: float
    electorate: int
    allowed: Int[Tensor, " allowed"] | None = None
    calibrated: bool = False
    abstain: float | None = None
    prior: Float[Tensor, " experts"] | None = None
    shares: Float[Tensor, " experts"] | None = None


@dataclass(frozen=True)
class Selection:
    """The experts of each token, as rows of the routing vectors, and their mixing weights (float32)."""

    experts: Int[Tensor, "tokens k"]
    weights: Float[Tensor, "tokens k"]


Router = Callable[[Tensor, ModulePack, Terms], Selection]


def by_score(kind: str) -> Router:
    """The router that mixes the experts with the k best scores of this kind, as they are or calibrated."""

    def router(hidden: Tensor, module: ModulePack, terms: Terms) -> Selection:
        if kind in ALWAYS_FINITE and _unopposed(terms):
            return uniform(hidden, module, replace(terms, electorate=1))
        score = calibrated(kind, hidden, module) if terms.calibrated else SCORES[kind](hidden, module)
        return best(score, terms)

    return router


def _unopposed(terms: Terms) -> bool:
    """Whether one expert wins every token, whatever the scores are, so that none need be computed."""
    alone = terms.allowed is not None and len(terms.allowed) == 1
    return alone and terms.abstain is None and not terms.calibrated


def by_evidence(hidden: Float[Tensor, "tokens d_in"], module: ModulePack, terms: Terms) -> Selection:
    """Experts with gates and experts without in one contest: the k best calibrated scores of either kind."""
    return best(evidence(hidden, module), terms)


def two_stage(hidden: Float[Tensor, "tokens d_in"], module: ModulePack, terms: Terms) -> Selection:
    """LAG (arXiv 2507.05346), calibrated: each token's Arrow list of `SHORT`, ranked anew by subspace."""
    first = calibrated("arrow", hidden, module)
    listed = _allowed_only(first if terms.prior is None else first + terms.prior, terms)
    listed = _leading(listed, min(SHORT, len(module)))
    scores = torch.full_like(first, -torch.inf).scatter_(1, listed, 0.0)
    return best(scores + calibrated("subspace", hidden, module), terms)


def uniform(hidden: Float[Tensor, "tokens d_in"], module: ModulePack, terms: Terms) -> Selection:
    """Every allowed expert with an equal weight: the exact mean of their updates.

    An expert that does not touch this module contributes an update of zero to that mean, so the weights here
    sum to (present / allowed), and the result equals the merged checkpoint of the same experts.
    """
    experts = terms.allowed
    if experts is None:
        experts = torch.arange(len(module), device=hidden.device)
    rows = experts.expand(len(hidden), -1)
    return Selection(
        rows,
        torch.full((1, 1), 1.0 / terms.electorate, dtype=torch.float32, device=hidden.device).expand(
            rows.shape
        ),
    )


def by_shares(hidden: Float[Tensor, "tokens d_in"], module: ModulePack, terms: Terms) -> Selection:
    """What the prompt said, for every token: the exact mean of the chosen experts' updates, so weighted.

    An expert that does not touch this module leaves its share to the plain base here, as in `uniform`.
    """
    rows = uniform(hidden, module, terms)
    if terms.shares is None:  # no prompt was read yet: so wide will it be
        return Selection(rows.experts[:, : terms.top_k], rows.weights[:, : terms.top_k])
    return Selection(rows.experts, terms.shares[rows.experts])


ROUTERS: Mapping[str, Router] = MappingProxyType(
    {
        **{name: by_score(kind) for name, kind in SCORED_BY.items()},
        "evidence": by_evidence,
        "two-stage": two_stage,
        "uniform": uniform,
        "single": uniform,  # of one expert, which has the whole weight
        **dict.fromkeys(sorted(QUERY_ROUTERS), by_shares),
    }
)


def width(router: Router, module: ModulePack, terms: Terms) -> int:
    """From how many experts each token is mixed at one module: so many columns has the router's selection."""
    standing = len(module) if terms.allowed is None else len(terms.allowed)
    if router is uniform or (router is by_shares and terms.shares is not None):
        return standing
    return min(terms.top_k, standing)


_UNASKED = frozenset({uniform, by_shares})  # routers that never look at hidden states
_SCORED = frozenset(ROUTERS[name] for name, kind in SCORED_BY.items() if kind in ALWAYS_FINITE)


def settled(router: Router, module: ModulePack, terms: Terms) -> Selection | None:
    """What every token chooses [1, k], where that can be said before any is seen; None where it cannot."""
    if router not in _UNASKED and not (router in _SCORED and _unopposed(terms)):
        return None
    return router(torch.zeros_like(module.vectors.prototypes[:1]), module, terms)


def best(scores: Float[Tensor, "tokens experts"], terms: Terms) -> Selection:
    """The k best allowed scores of each token, mixed by softmax over those k alone; a prior is added first.

    Scores that are not finite never win. Of equal scores the earlier expert wins, however they are chosen. A
    token without any finite score, or whose best expert's own score is below `terms.abstain`, gets weights of
    zero, and so keeps the plain base.
    """
    if terms.allowed is None and terms.prior is None:
        chosen = _best_by_kernels(scores, terms)
        if chosen is not None:
            return _unless_abstaining(chosen, scores, terms)
    own = _finite(scores if terms.allowed is None else scores[:, terms.allowed])
    contested = own if terms.prior is None else _finite(own + _of_allowed(terms.prior, terms))
    width = own.shape[-1]
    rows = _leading(contested, min(terms.top_k, width))
    kept = contested.gather(1, rows).double()
    # behind the best, so that the smallest temperature sharpens and never overflows
    behind = (kept - kept[:, :1]) / terms.temperature
    weights = behind.softmax(dim=-1).nan_to_num(nan=0.0).float()
    if terms.abstain is not None:
        weights = weights * (own.gather(1, rows[:, :1]) >= terms.abstain)
    return Selection(rows if terms.allowed is None else terms.allowed[rows], weights)


def _best_by_kernels(scores: Float[Tensor, "tokens experts"], terms: Terms) -> Selection | None:
    """What kernels on a GPU or compiled loops choose; None where there are none, or they have just failed."""
    on_gpu = kernels_for(terms.top_k, scores)
    if on_gpu is not None:
        try:
            chosen: Selection = on_gpu.choose(scores, terms.temperature, terms.top_k)
        except Exception as error:  # noqa: BLE001 - whatever a compiler or a driver may say
            accelerated.give_up(error, scores)
            return None
        return chosen
    shape = (len(scores), min(terms.top_k, scores.shape[1]))
    loops = kernels() if usable(scores) and shape[1] <= compiled.MOST_CHOSEN else None
    if loops is None:
        return None
    experts, weights = torch.empty(shape, dtype=torch.int64), torch.empty(shape)
    try:
        loops.choose(scores.numpy(), terms.temperature, experts.numpy(), weights.numpy())
    except Exception as error:  # noqa: BLE001 - as above
        compiled.give_up(error)
        return None
    return Selection(experts, weights)


def _unless_abstaining(
    selection: Selection, scores: Float[Tensor, "tokens experts"], terms: Terms
) -> Selection:
    """The selection, without any weight where the best expert's score is below `terms.abstain`."""
    if terms.abstain is None:
        return selection
    speaks = scores.gather(1, selection.experts[:, :1]) >= terms.abstain
    return Selection(selection.experts, selection.weights * speaks)


def _finite(scores: Float[Tensor, "tokens experts"]) -> Float[Tensor, "tokens experts"]:
    return scores.nan_to_num(nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)


def _of_allowed(by_row: Float[Tensor, " experts"], terms: Terms) -> Float[Tensor, " allowed"]:
    return by_row if terms.allowed is None else by_row[terms.allowed]


def _allowed_only(scores: Float[Tensor, "tokens experts"], terms: Terms) -> Float[Tensor, "tokens experts"]:
    if terms.allowed is None:
        return scores
    return torch.full_like(scores, -torch.inf).index_copy_(1, terms.allowed, scores[:, terms.allowed])


def _leading(scores: Float[Tensor, "tokens experts"], k: int) -> Int[Tensor, "tokens k"]:
    """Where each token's k best scores are, best first; of equal scores, whatever their sign, the first.

    Torch's `topk` promises no order of equal numbers. So they are compared as integers in the same order (a
    float's bits are its magnitude behind its sign), which its place makes different from all others.
    """
    bits = (scores.float() + 0.0).view(torch.int32)  # minus zero becomes zero
    in_order = bits ^ ((bits >> 31) & MAGNITUDE)
    width = scores.shape[-1]
    return (in_order.long() * width - _places(width, scores.device)).topk(k, dim=-1).indices


@lru_cache(maxsize=1024)
def _places(experts: int, device: torch.device) -> Int[Tensor, " experts"]:
    return torch.arange(experts, device=device)
