"""Sketches: prototypes in a quarter of their bytes, to see who cannot be among the k best of a token.

Reading every prototype is most of what routing among many experts costs. A sketch is the same vectors as
int8, each with a step of its own; the product with a token is then known to within a bound, and float32
scores are needed only of those whom the bound leaves a chance. So who is chosen, and with which weight, is
what the float32 scores of all say: for scores s and rough scores r with |s - r| <= e, an expert with
r + e below the k-th largest r - e has k others above it.
"""

from __future__ import annotations

import importlib
import logging
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from routing.compiled import kernels
from routing.threads import by_panels, parts, side_by_side
from routing.trusted import tried, withdraw

log = logging.getLogger(__name__)
FEWEST = 64  # experts: below, reading their prototypes costs no more than looking twice
FEWEST_FOR_MANY = 128  # experts: a product of all scores of many tokens costs little beside their mixture
SHARE = 32  # tokens to choose for that are worth waking another thread for
COARSEST = 127  # of an int8
INSTEAD = "every expert is scored, which is slower"
UNIT = 2.0**-24  # the relative error of one float32 operation


class Sketch(NamedTuple):
    """A module's prototypes as levels * steps, and how far products with a token x may be off.

    With x itself: by at most errors * |x|, the roundings of a float32 product in any order included. With
    x that is off by e in length: by lengths * e more.
    """

    levels: NDArray[np.int8]  # in panels, as `routing.panel_loops.multiply` reads them
    steps: NDArray[np.float64]
    errors: NDArray[np.float64]
    lengths: NDArray[np.float64]


def sketched(prototypes: NDArray[np.float32]) -> Sketch | None:
    """The sketch of prototypes [experts, d_in]; None where they are few or not finite, or without numba."""
    if len(prototypes) < FEWEST or not np.isfinite(prototypes).all() or loops() is None:
        return None
    return _sketched(prototypes)


def resketched(before: Sketch, origin: NDArray[np.int64], prototypes: NDArray[np.float32]) -> Sketch | None:
    """As `sketched`, to the bit, where most prototypes are known: only those that are new are looked at.

    Prototype i is that of row `origin[i]` of the sketch before, or new where that is negative.
    """
    new = origin < 0
    fresh = prototypes[new]
    if len(prototypes) < FEWEST or not np.isfinite(fresh).all() or loops() is None:
        return None
    added = _sketched(fresh)
    picked = np.where(new, len(before.steps) + np.cumsum(new) - 1, origin)
    both: list[tuple[NDArray[Any], NDArray[Any]]] = [
        (_out_of_panels(before), _out_of_panels(added)),
        *zip(before[1:], added[1:], strict=True),
    ]
    levels, *rest = (np.concatenate(pair, axis=-1).take(picked, axis=-1) for pair in both)
    return Sketch(_in_panels(levels), *rest)


def choose_by_sketch(
    hidden: Float[Tensor, "tokens d_in"],
    prototypes: NDArray[np.float32],
    sketch: Sketch,
    top_k: int,
    temperature: float,
) -> tuple[Int[Tensor, "tokens k"], Float[Tensor, "tokens k"]] | None:
    """The experts and weights of many tokens; None where experts are few, or there are no loops.

    Tokens are levels of 16 bits, so fine that what they are off by is little beside the prototypes.
    """
    read = loops()
    if len(prototypes) < FEWEST_FOR_MANY or read is None:
        return None
    tokens = len(hidden)
    levels = np.empty((tokens, 2 * sketch.levels.shape[1]), dtype=np.int16)
    steps, lengths = np.empty(tokens), np.empty(tokens)
    read.levels_of(hidden.numpy(), levels, steps, lengths)
    rough = np.empty((tokens, len(prototypes)), dtype=np.float32)
    by_panels(read.multiply, rough, levels.view(np.int32), sketch.levels)
    shape = (tokens, min(top_k, len(prototypes)))
    experts, weights = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.float32)
    by_token = (rough, steps, lengths, hidden.numpy(), experts, weights)
    shares = [[array[first:end] for array in by_token] for first, end in parts(tokens, tokens // SHARE)]
    side_by_side(
        read.choose_listed,
        [(*mine[:4], prototypes, *sketch[1:], temperature, *mine[4:]) for mine in shares],
    )
    return torch.from_numpy(experts), torch.from_numpy(weights)


@cache
def loops() -> Any | None:
    """The compiled loops that read sketches; None, and a line in the log, where they do not choose right."""
    return tried("routing.sketch_loops", _try, log.warning, INSTEAD)


def give_up(error: Exception) -> None:
    """A loop has failed: every expert is scored from now on."""
    withdraw(error, log.warning, INSTEAD)
    loops.cache_clear()


def _sketched(prototypes: NDArray[np.float32]) -> Sketch:
    rows = prototypes.astype(np.float64)
    steps = np.abs(rows).max(axis=1) / COARSEST
    levels = np.rint(rows / np.where(steps > 0, steps, 1.0)[:, None])
    off = np.linalg.norm(rows - levels * steps[:, None], axis=1)
    lengths = np.linalg.norm(rows, axis=1)
    # a float32 product of d terms is off by at most d units of |p| |x|: twice that, and the rough one's
    errors = off + (2 * rows.shape[1] + 4) * UNIT * (lengths + off)
    return Sketch(_in_panels(_by_pairs(levels.astype(np.int8))), steps, errors, lengths + off)


def _by_pairs(levels: NDArray[np.int8]) -> NDArray[np.int16]:
    """[experts, d_in] as [pairs, experts], two levels in one number; of an odd width the last has a zero."""
    experts, d_in = levels.shape
    whole = np.zeros((experts, -(-d_in // 2) * 2), dtype=np.int8)
    whole[:, :d_in] = levels
    return whole.view(np.int16).T


def _in_panels(by_pairs: NDArray[np.int16]) -> NDArray[np.int8]:
    """[pairs, experts] as [panels, pairs, width * 2], filled up with zeros to whole panels."""
    width: int = importlib.import_module("routing.panel_numbers").WIDTH  # numba's, which may be missing
    pairs, experts = by_pairs.shape
    panels = -(-experts // width)
    whole = np.zeros((pairs, panels * width), dtype=np.int16)
    whole[:, :experts] = by_pairs
    return whole.reshape(pairs, panels, width).transpose(1, 0, 2).copy().view(np.int8)


def _out_of_panels(sketch: Sketch) -> NDArray[np.int16]:
    """[pairs, experts]: so the experts of a panel stay beside each other, and are moved together."""
    by_pairs = sketch.levels.view(np.int16).transpose(1, 0, 2).reshape(sketch.levels.shape[1], -1)
    return by_pairs[:, : len(sketch.steps)]


def _try(found: Any) -> None:
    """Tokens of all kinds among vectors that lie close; ArithmeticError unless the right ones are chosen."""
    draw = np.random.default_rng(0)
    near = draw.standard_normal((70, 40)) * 0.1 + draw.standard_normal(40)
    prototypes, hidden = near.astype(np.float32), draw.standard_normal((3, 40)).astype(np.float32)
    prototypes[7] = prototypes[3]
    hidden[1], hidden[2, 5] = 0.0, np.nan
    outputs, spans = np.zeros((2, 3, 1), dtype=np.float32), np.zeros((70, 2), dtype=np.int64)
    rows = np.zeros((0, 40), dtype=np.float32), np.zeros((0, 1), dtype=np.float32), spans
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
