"""Sketches: prototypes in a quarter of their bytes, to see who cannot be among the k best of a token.

Reading every prototype is most of what routing among many experts costs. A sketch is the same vectors as
int8, each with a step of its own; the product with a token is then known to within a bound, and float32
scores are needed only of those whom the bound leaves a chance. So who is chosen, and with which weight, is
what the float32 scores of all say: for scores s and rough scores r with |s - r| <= e, an expert with
r + e below the k-th largest r - e has k others above it.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from routing.compiled import kernels
from routing.trusted import tried

log = logging.getLogger(__name__)
FEWEST = 64  # experts: below, reading their prototypes costs no more than looking twice
FEWEST_FOR_MANY = 128  # experts: a product of all scores of many tokens costs little beside their mixture
COARSEST = 127  # of an int8
UNIT = 2.0**-24  # the relative error of one float32 operation


class Sketch(NamedTuple):
    """A module's prototypes as levels * steps, and how far products with a token x may be off.

    With x itself: by at most errors * |x|, the roundings of a float32 product in any order included. With
    x that is off by e in length: by lengths * e more.
    """

    levels: NDArray[np.int8]
    steps: NDArray[np.float64]
    errors: NDArray[np.float64]
    lengths: NDArray[np.float64]


def sketched(prototypes: NDArray[np.float32]) -> Sketch | None:
    """The sketch of prototypes [experts, d_in]; None where they are few or not finite, or without numba."""
    if len(prototypes) < FEWEST or not np.isfinite(prototypes).all() or loops() is None:
        return None
    return _sketched(prototypes)


def choose_by_sketch(
    hidden: Float[Tensor, "tokens d_in"],
    prototypes: NDArray[np.float32],
    sketch: Sketch,
    top_k: int,
    temperature: float,
) -> tuple[Int[Tensor, "tokens k"], Float[Tensor, "tokens k"]] | None:
    """The experts and weights of many tokens; None where experts are few, or float32 is the better way.

    Tokens are levels of 16 bits, so fine that what they are off by is little beside the prototypes; two
    products of int8 make one of those.
    """
    read = loops()
    if len(prototypes) < FEWEST_FOR_MANY or read is None or not (multiplies() and pays()):
        return None
    tokens = len(hidden)
    levels, halves = np.empty(hidden.shape, dtype=np.int16), np.empty((2 * tokens, hidden.shape[1]), np.int8)
    steps, lengths = np.empty(tokens), np.empty(tokens)
    read.levels_of(hidden.numpy(), levels, steps, lengths)
    read.split(levels, halves)
    products = torch._int_mm(torch.from_numpy(halves), torch.from_numpy(sketch.levels).T)  # noqa: SLF001 - there is no public one
    rough = products[:tokens].mul_(256).add_(products[tokens:]).float()
    shape = (tokens, min(top_k, len(prototypes)))
    experts, weights = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
    read.choose_listed(
        rough.numpy(), steps, lengths, hidden.numpy(), prototypes, *sketch[1:], temperature, experts, weights
    )
    return torch.from_numpy(experts), torch.from_numpy(weights)


@cache
def loops() -> Any | None:
    """The compiled loops that read sketches; None, and a line in the log, where they do not choose right."""
    return tried("routing.sketch_loops", _try, log.warning, "every expert is scored, which is slower")


@cache
def multiplies() -> bool:
    """Whether torch multiplies int8 exactly: before AVX-512 VNNI, sums of two products may be cut off."""
    ends = torch.tensor([-128, -127, 127, 127, 1, 0], dtype=torch.int8).repeat(24)
    left, right = ends.repeat(16, 1), torch.stack([ends.roll(place) for place in range(64)])
    try:
        found = torch._int_mm(left, right.T)  # noqa: SLF001 - as above
    except (AttributeError, RuntimeError, NotImplementedError) as error:
        log.info("prompts are scored in float32: %s", error)
        return False
    return torch.equal(found, left.int() @ right.T.int())


@cache
def pays() -> bool:
    """Whether torch multiplies int8 faster than float32, of which one product stands for two.

    Where a processor has instructions for it, three times as fast; where it has none, sixty times slower.
    """
    tokens, experts = torch.ones(64, 512), torch.ones(FEWEST_FOR_MANY, 512)
    small, levels = tokens.repeat(2, 1).to(torch.int8), experts.to(torch.int8)
    rough = seconds(lambda: torch._int_mm(small, levels.T))  # noqa: SLF001 - as above
    exact = seconds(lambda: tokens @ experts.T)
    if rough >= exact:
        log.info("prompts are scored in float32: int8 takes %.2g times as long here", rough / exact)
    return rough < exact


def seconds(product: Callable[[], Tensor]) -> float:
    """The processor's, for the fastest of three after one that may have to prepare something."""
    product()
    taken = []
    for _ in range(3):
        began = time.thread_time()
        product()
        taken.append(time.thread_time() - began)
    return max(min(taken), sys.float_info.epsilon)  # a clock may be coarser than that


def _sketched(prototypes: NDArray[np.float32]) -> Sketch:
    rows = prototypes.astype(np.float64)
    steps = np.abs(rows).max(axis=1) / COARSEST
    levels = np.rint(rows / np.where(steps > 0, steps, 1.0)[:, None])
    off = np.linalg.norm(rows - levels * steps[:, None], axis=1)
    lengths = np.linalg.norm(rows, axis=1)
    # a float32 product of d terms is off by at most d units of |p| |x|: twice that, and the rough one's
    errors = off + (2 * rows.shape[1] + 4) * UNIT * (lengths + off)
    return Sketch(levels.astype(np.int8), steps, errors, lengths + off)


def _try(found: Any) -> None:
    """Tokens of all kinds among vectors that lie close; ArithmeticError unless the right ones are chosen."""
    draw = np.random.default_rng(0)
    near = draw.standard_normal((70, 40)) * 0.1 + draw.standard_normal(40)
    prototypes, hidden = near.astype(np.float32), draw.standard_normal((3, 40)).astype(np.float32)
    prototypes[7] = prototypes[3]
    hidden[1], hidden[2, 5] = 0.0, np.nan
    outputs, bounds = np.zeros((2, 3, 1), dtype=np.float32), np.zeros(71, dtype=np.int64)
    rows = np.zeros((0, 40), dtype=np.float32), np.zeros((0, 1), dtype=np.float32), bounds
    experts, weights = np.zeros((2, 3, 4), dtype=np.int64), np.zeros((2, 3, 4), dtype=np.float32)
    plain = kernels()
    if plain is None:
        raise ArithmeticError("there is nothing to compare with")
    plain.choose_and_mix(outputs[0], hidden, prototypes, *rows, 1.0, experts[0], weights[0])
    found.choose_by_sketch_and_mix(
        outputs[1], hidden, prototypes, *rows, *_sketched(prototypes), 1.0, experts[1], weights[1]
    )
    if not (np.array_equal(experts[0], experts[1]) and np.allclose(weights[0], weights[1], atol=1e-6)):
        raise ArithmeticError(f"it chose {experts[1].tolist()} instead of {experts[0].tolist()}")
