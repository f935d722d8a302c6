"""Choosing experts on a GPU: Triton kernels for what `routing.scores.arrow` and `routing.routers.best` do."""

from __future__ import annotations

import triton
import triton.language as tl

from routing.triton_blocks import CHUNK, COLUMNS, NOBODY, PASSING, TILE, exact_product, matrix, transposed

EXPERTS_READ = tl.constexpr(1024)  # scores that are compared at a time


@triton.jit(do_not_specialize=PASSING)
def score(
    scores: tl.tensor,
    hidden: tl.tensor,
    prototypes: tl.tensor,
    tokens: int,
    experts: int,
    width: int,
    chunks: int,
    TOKENS: tl.constexpr,
) -> None:
    """v.x of `TOKENS` tokens with `TILE` prototypes, to scores [parts, tokens, experts].

    A part is the sum over `chunks` chunks of the columns. Grid: tiles of tokens, tiles of experts, parts.
    """
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    expert = tl.program_id(1) * TILE + tl.arange(0, TILE)
    part = tl.program_id(2)
    total = _scored(hidden, prototypes, token, expert, tokens, experts, width, part * chunks, chunks)
    row = part.to(tl.int64) * tokens + token
    there = (token < tokens)[:, None] & (expert < experts)[None, :]
    tl.store(scores + row[:, None] * experts + expert[None, :], total, mask=there)


@triton.jit(do_not_specialize=PASSING)
def choose(
    scores: tl.tensor,
    chosen: tl.tensor,
    weights: tl.tensor,
    temperature: float,
    tokens: int,
    experts: int,
    parts: int,
    K: tl.constexpr,
    PLACES: tl.constexpr,
    ABSOLUTE: tl.constexpr,
) -> None:
    """The k best finite scores of a token, best first, and their softmax; of equal ones the earlier expert.

    Writes chosen and weights [tokens, k]. Where fewer scores are finite the rest are expert 0 without weight.
    Grid: tokens. Each place is a walk over all scores, summed over `parts`, for the best behind the last.
    """
    token = tl.program_id(0).to(tl.int64) + tl.arange(0, 1)
    kept, picked = _nobody(1, PLACES)
    last, last_expert = _ahead_of_all(1)
    for place in range(K):
        best = tl.full([1], -float("inf"), tl.float32)
        winner = tl.zeros([1], tl.int32)
        for start in range(0, experts, EXPERTS_READ):
            expert = start + tl.arange(0, EXPERTS_READ)
            there = (expert < experts)[None, :]
            total = tl.zeros([1, EXPERTS_READ], tl.float32)
            for part in range(parts):
                row = part * tokens + token
                total += tl.load(scores + row[:, None] * experts + expert[None, :], mask=there, other=0.0)
            total = tl.abs(total) if ABSOLUTE else total
            found, who = _best_behind(tl.where(there, total, -float("inf")), expert, last, last_expert)
            winner = tl.where(found > best, who, winner)
            best = tl.maximum(found, best)
        kept, picked = _placed(kept, picked, place, best, winner)
        last, last_expert = best, winner
    _keep(chosen, weights, token, tokens, kept, picked, temperature, K, PLACES)


@triton.jit(do_not_specialize=PASSING)
def route(
    hidden: tl.tensor,
    prototypes: tl.tensor,
    chosen: tl.tensor,
    weights: tl.tensor,
    temperature: float,
    tokens: int,
    experts: int,
    width: int,
    chunks: int,
    K: tl.constexpr,
    PLACES: tl.constexpr,
) -> None:
    """`score` and `choose` in one, for at most `TILE` experts. Grid: tiles of tokens."""
    token = tl.program_id(0) * TILE + tl.arange(0, TILE)
    expert = tl.arange(0, TILE)
    total = tl.abs(_scored(hidden, prototypes, token, expert, tokens, experts, width, 0, chunks))
    total = tl.where((expert < experts)[None, :], total, -float("inf"))
    kept, picked = _nobody(TILE, PLACES)
    last, last_expert = _ahead_of_all(TILE)
    for place in range(K):
        last, last_expert = _best_behind(total, expert, last, last_expert)
        kept, picked = _placed(kept, picked, place, last, last_expert)
    _keep(chosen, weights, token, tokens, kept, picked, temperature, K, PLACES)


@triton.jit
def _scored(
    hidden: tl.tensor,
    prototypes: tl.tensor,
    token: tl.tensor,
    expert: tl.tensor,
    tokens: int,
    experts: int,
    width: int,
    first: int,
    chunks: int,
) -> tl.tensor:
    """v.x of these tokens with these prototypes over some chunks of their columns, in float32."""
    total = tl.zeros([token.shape[0], expert.shape[0]], tl.float32)
    for chunk in range(first, first + chunks):
        within = tl.zeros([token.shape[0], expert.shape[0]], tl.float32)
        for start in range(chunk * CHUNK, tl.minimum(chunk * CHUNK + CHUNK, width), COLUMNS):
            column = start + tl.arange(0, COLUMNS)
            x = matrix(hidden, token.to(tl.int64), column, width, token < tokens, column < width)
            v = transposed(prototypes, expert.to(tl.int64), column, width, expert < experts, column < width)
            within = exact_product(x, v, within)
        total += within
    return total


@triton.jit
def _nobody(TOKENS: tl.constexpr, PLACES: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """Empty places: scores that are none, of expert 0."""
    return tl.full([TOKENS, PLACES], -float("inf"), tl.float32), tl.zeros([TOKENS, PLACES], tl.int32)


@triton.jit
def _ahead_of_all(TOKENS: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """A score and an expert that every finite score ranks behind, and no infinite one."""
    return tl.full([TOKENS], float("inf"), tl.float32), tl.full([TOKENS], NOBODY, tl.int32)


@triton.jit
def _best_behind(
    scores: tl.tensor, expert: tl.tensor, last: tl.tensor, last_expert: tl.tensor
) -> tuple[tl.tensor, tl.tensor]:
    """Each token's best of the scores that rank behind its last one, and whose; minus infinity: none is left.

    NaN compares as false, so it ranks nowhere.
    """
    equal = (scores == last[:, None]) & (expert[None, :] > last_expert[:, None])
    left = tl.where((scores < last[:, None]) | equal, scores, -float("inf"))
    best = tl.max(left, 1)
    who = tl.min(tl.where(left == best[:, None], expert[None, :], NOBODY), 1)
    return best, who


@triton.jit
def _placed(
    kept: tl.tensor, picked: tl.tensor, place: int, best: tl.tensor, who: tl.tensor
) -> tuple[tl.tensor, tl.tensor]:
    """The places with one more filled, if anybody was found."""
    here = (tl.arange(0, kept.shape[1]) == place)[None, :] & (best > -float("inf"))[:, None]
    return tl.where(here, best[:, None], kept), tl.where(here, who[:, None], picked)


@triton.jit
def _keep(
    chosen: tl.tensor,
    weights: tl.tensor,
    token: tl.tensor,
    tokens: int,
    kept: tl.tensor,
    picked: tl.tensor,
    temperature: float,
    K: tl.constexpr,
    PLACES: tl.constexpr,
) -> None:
    """Write whom each token chose, and the softmax of their scores."""
    place = tl.arange(0, PLACES)
    found = kept > -float("inf")
    behind = tl.where(found, kept - tl.max(kept, 1)[:, None], 0.0) / temperature
    shares = tl.where(found, tl.exp(behind), 0.0)
    total = tl.sum(shares, 1)[:, None]
    there = (token < tokens)[:, None] & (place < K)[None, :]
    where = token.to(tl.int64)[:, None] * K + place[None, :]
    tl.store(chosen + where, picked.to(tl.int64), mask=there)
    tl.store(weights + where, tl.where(total > 0.0, shares / total, 0.0), mask=there)
