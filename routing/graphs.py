"""CUDA graphs: a step of decoding that the GPU has learnt by heart, and what is asked of it.

From Python each kernel costs the host more than the GPU, and a step has thousands. A graph replays all of
them at once, where shapes and addresses are what they were when it was captured (`routing.capturing`). So
there is one for each number of answers that is a power of two, and what changes from step to step lies in a
buffer.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from routing.fixed import Fixed
from routing.pack import Pack
from routing.ragged import Strand
from routing.routes import Route, Rule
from routing.traces import Columns, ModuleTrace, Record, Widths
from routing.trusted import require_fault

log = logging.getLogger(__name__)
Fill = Callable[[Sequence[int], Sequence[Strand], Sequence[Fixed | None]], None]


class Made(NamedTuple):
    """What a step makes: logits in the base's dtype, and whom each token chose, all modules side by side.

    `chosen` is None where no module is routed.
    """

    logits: Float[Tensor, "capacity vocabulary"]
    chosen: ModuleTrace | None


@dataclass(frozen=True)
class Graph:
    """A step for so many answers: `fill` writes its inputs, `replay` does it, `made` is written anew then."""

    fill: Fill
    replay: Callable[[], None]
    made: Made


@dataclass(frozen=True)
class Decoder:
    """Decodes answers, a token each, by the graph of the smallest capacity that they fit into.

    Without `slots` they are those of one route, whose tokens choose; `widths` are those of the modules that
    are routed. With slots each answer has a fixed choice of its own, of at most so many experts at a module.
    `size` is what the graphs take, in bytes. For one thread alone: each step writes over what the one before
    has made.
    """

    graphs: Mapping[int, Graph]
    widths: Widths
    size: int = 0
    told: Callable[[], None] = lambda: None
    slots: int = 0

    @property
    def most(self) -> int:
        """For how many answers at once there is a graph."""
        return max(self.graphs)

    @torch.inference_mode()
    def step(
        self,
        tokens: Sequence[int],
        strands: Sequence[Strand],
        pack: Pack | None,
        fixed: Sequence[Fixed | None] = (),
    ) -> tuple[Float[Tensor, "answers vocabulary"], Record | None]:
        """Read one token of each answer and keep what it leaves; the logits behind it, and who was chosen.

        With slots `fixed` says who speaks in each answer (None: the plain base), and no pack is asked for.
        """
        count = len(tokens)
        graph = self.graphs[min(capacity for capacity in self.graphs if capacity >= count)]
        graph.fill(tokens, strands, fixed)
        graph.replay()
        for strand in strands:
            strand.length += 1
        self.told()
        # Copies: the next step writes over what this one made.
        logits, chosen = graph.made.logits[:count].to(torch.float32, copy=True), graph.made.chosen
        if pack is None or chosen is None:
            return logits, None if pack is None else Record(pack)
        mine = ModuleTrace(chosen.experts[:count].clone(), chosen.weights[:count].clone())
        return logits, Record(pack, Columns(self.widths, mine))


class _Held(NamedTuple):
    pack: weakref.ref[Pack]
    rule: Rule
    decoder: Decoder

    def serves(self, route: Route | None) -> bool:
        """Whether an answer of this route, through this pack if through any, may be in a step."""
        if not self.decoder.slots:
            return route is not None and route.rule == self.rule
        if route is None:
            return True
        said = route.fixed
        return said is not None and said.experts.shape[1] <= self.decoder.slots


class Graphs:
    """The decoders of one base, by the index version that they go through: each goes when its version does.

    One thread keeps, another asks.
    """

    def __init__(self) -> None:
        self.given_up = False  # one has failed: no more are wanted
        self._held: dict[int, _Held] = {}

    def give_up(self, error: Exception) -> None:
        """Forget all and keep no more, for one has failed. The error again where memory was short."""
        require_fault(error)
        if not self.given_up:
            log.warning(
                "from now on answers are decoded without CUDA graphs: %s: %s", type(error).__name__, error
            )
        self.given_up = True
        self._held.clear()

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def size(self) -> int:
        """Bytes that they take."""
        return sum(one.decoder.size for one in tuple(self._held.values()))

    def keep(self, route: Route, decoder: Decoder) -> None:
        """From now on answers of this route's version are decoded so, while the version is there.

        Without slots those of its rule alone.
        """
        assert route.rule is not None
        if self.given_up:
            return
        key, held = id(route.pack), self._held
        held[key] = _Held(weakref.ref(route.pack, lambda _: held.pop(key, None)), route.rule, decoder)

    def holds(self, route: Route, slots: int) -> bool:
        """Whether a decoder is kept already of this version and rule, with so many slots."""
        found = self._held.get(id(route.pack))
        if found is None or found.pack() is not route.pack:
            return False
        return found.rule == route.rule and found.decoder.slots == slots

    def decoder(self, routes: Sequence[Route | None]) -> Decoder | None:
        """Who decodes answers of these routes in one step, if anybody does; they are of one version."""
        packs = {id(route.pack): route.pack for route in routes if route is not None}
        if len(packs) != 1:
            return None
        [(key, pack)] = packs.items()
        found = self._held.get(key)
        if found is None or found.pack() is not pack or not all(map(found.serves, routes)):
            return None
        return found.decoder
