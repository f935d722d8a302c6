"""Which layout multiplies fastest here: a short trial of a part of one layer of each shape.

That depends on the processor, its caches and its neighbours, and no list of processors would say it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, prod
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from routing.layouts import LAYOUTS, Layout
from routing.relaid import Kind, in_layout

TOKENS = (1, 8)  # an answer alone, and several that are written at once
PART_BYTES = 16 * 2**20  # of a matrix; more of it says nothing more, and would be put off by a neighbour
ROUNDS = 7, 25  # at least, so that a neighbour would have to disturb each; and at most
SECONDS = 1.0  # of this thread's own, after which no round beyond the least begins
MARGIN = 1.05  # times the best is as good: the plainest of those is taken
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
UNKNOWN_CACHE = 64 * 2**20

Seconds = Mapping[Layout, tuple[float, ...]]
Rest = Sequence[Tensor]


@dataclass(frozen=True)
class Product:
    """What is timed: so many tokens times a part of a layer, as this layout has it."""

    kind: Kind
    layout: Layout
    tokens: int
    layer: nn.Module
    x: Tensor


Stopwatch = Callable[[Product], float]


@dataclass(frozen=True)
class Trial:
    """The fewest seconds that each layout took, for each number of `TOKENS`."""

    seconds: Seconds

    @property
    def fastest(self) -> Layout:
        """The plainest of those that are as fast as the fastest.

        Each number of tokens counts alike: compared are the geometric means of its seconds.
        """
        means = {layout: prod(times) ** (1 / len(times)) for layout, times in self.seconds.items()}
        best = min(means.values())
        return next(layout for layout in LAYOUTS if means.get(layout, inf) <= best * MARGIN)


@torch.inference_mode()
def stopped(product: Product) -> float:
    """Seconds that the product takes: the thread's own where it works alone, so that neighbours do not count.

    Where threads share it, they are those of the wall.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    product.layer(product.x)
    return clock() - began


def try_layouts(
    layers: Mapping[Kind, nn.Linear | Conv1D],
    rest: Rest,
    *,
    stopwatch: Stopwatch = stopped,
    clock: Callable[[], float] = time.thread_time,
) -> dict[Kind, Trial]:
    """A trial for each of these layers, all in turn, round by round: a neighbour disturbs all of them alike.

    Before a weight is met again `rest` is walked through, as a pass walks through the other layers, so that
    caches hold no more of it than they would.
    """
    series = _series(layers)
    best: dict[tuple[Kind, Layout, int], float] = {}
    (least, most), end = ROUNDS, clock() + SECONDS
    for turn in range(most):
        if turn >= least and clock() >= end:
            break
        for products in series:
            _walk(rest)
            for one in _rotated(products, turn):
                key = (one.kind, one.layout, one.tokens)
                best[key] = min(best.get(key, inf), stopwatch(one))
    return {
        kind: Trial(
            {
                layout: tuple(best[kind, layout, tokens] for tokens in TOKENS)
                for layout in LAYOUTS
                if (kind, layout, TOKENS[0]) in best
            }
        )
        for kind in layers
    }


def _rotated(products: Sequence[Product], turn: int) -> Sequence[Product]:
    """Whoever comes first behind the walk is slowed by it, so each round another one does."""
    first = turn % max(1, len(products))
    return [*products[first:], *products[:first]]


def _walk(rest: Rest) -> None:
    for part in rest:
        part.sum()


def _series(layers: Mapping[Kind, nn.Linear | Conv1D]) -> list[list[Product]]:
    """For each layout and number of tokens a product of every kind that can: no weight is in one twice."""
    ways = {kind: _ways(kind, part_of(layer, kind)) for kind, layer in layers.items()}
    return [
        [
            Product(kind, layout, tokens, ways[kind][layout], _drawn(tokens, kind))
            for kind in layers
            if layout in ways[kind]
        ]
        for tokens in TOKENS
        for layout in LAYOUTS
    ]


def _ways(kind: Kind, layer: nn.Linear | Conv1D) -> dict[Layout, nn.Module]:
    """The layer in each layout that it can have here."""
    ways: dict[Layout, nn.Module] = {"stored": layer}
    for layout in LAYOUTS[1:]:
        found = in_layout(f"a part of {kind.shape}", layer, kind, layout)
        ways |= {} if found is None else {layout: found}
    return ways


def _drawn(tokens: int, kind: Kind) -> Tensor:
    draw = torch.Generator().manual_seed(tokens)
    return torch.randn(1, tokens, kind.shape.d_in, generator=draw).to(kind.dtype)


def part_of(layer: nn.Linear | Conv1D, kind: Kind) -> nn.Linear | Conv1D:
    """The layer's first outputs, from the same weight in memory: no more than `PART_BYTES` of it."""
    (d_out, d_in), transposed = kind.shape, kind.transposed
    count = max(64, PART_BYTES // (d_in * layer.weight.itemsize) // 64 * 64)
    if count >= d_out:
        return layer
    with torch.device("meta"):
        part = Conv1D(count, d_in) if transposed else nn.Linear(d_in, count, bias=layer.bias is not None)
    weight = layer.weight[:, :count] if transposed else layer.weight[:count]
    part.weight = nn.Parameter(weight.detach(), requires_grad=False)
    if layer.bias is not None:
        part.bias = nn.Parameter(layer.bias[:count].detach(), requires_grad=False)
    return part


def rest_of(model: nn.Module, tried: Iterable[nn.Module], most: int) -> Rest:
    """Views of the weights that a pass reads beside those that are tried, of at most so many bytes."""
    seen = {weight.data_ptr() for layer in tried for weight in layer.parameters()}
    parts: list[Tensor] = []
    for weight in model.parameters():
        if weight.data_ptr() in seen or not weight.is_contiguous() or weight.nbytes % 4:
            continue
        room = (most - sum(part.nbytes for part in parts)) // 4
        if room <= 0:
            break
        parts.append(weight.detach().view(-1).view(torch.float32)[:room])
    return parts


def last_cache(caches: Path = CACHES) -> int:
    """Bytes of the processor's largest cache; more than most have where nobody says."""
    found = [_bytes(path.read_text()) for path in caches.glob("index*/size")]
    return max(found, default=UNKNOWN_CACHE)


def _bytes(size: str) -> int:
    number, unit = size.strip()[:-1], size.strip()[-1:]
    return int(number) * {"K": 2**10, "M": 2**20, "G": 2**30}.get(unit, 1) if number.isdecimal() else 0
