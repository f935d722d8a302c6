"""A base model whose target modules can be routed: wrapped once, plain until a pass names its route."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from routing.base import Base
from routing.family import Inputs, Memory
from routing.graphs import Graphs
from routing.hidden import listen_to, overhearing
from routing.layers import Crowd, RoutedLinear, Witness, crowded, routed_by
from routing.laying_out import layouts_of
from routing.layouts import Layout
from routing.prefixes import Prefixes
from routing.ragged import Piece, Strand, inputs, ragged
from routing.ragged_trial import reads_ragged
from routing.relaid import Relaid
from routing.routes import Route

log = logging.getLogger(__name__)


class RoutedModel:
    """One copy of a base's weights, through which any number of index versions can be routed side by side."""

    def __init__(self, base: Base, *, prefixes: Prefixes | None = None) -> None:
        self.base = base
        self.prefixes = prefixes
        self.graphs = Graphs()
        for module in base.spec.target_modules:
            _wrap(base.model, module.name)
        listen_to(self._reader)
        self._trims_logits = "logits_to_keep" in inspect.signature(base.model.forward).parameters

    @cached_property
    def reads_together(self) -> bool:
        """Whether one pass can read pieces of many answers; tried once, the first time that somebody asks."""
        return reads_ragged(self.base)

    @cached_property
    def layouts(self) -> Mapping[Layout, int]:
        """How many of the base's linear layers lie in memory in which way."""
        return layouts_of(self.base.model)

    @cached_property
    def embedding_width(self) -> int | None:
        """How many numbers an embedding by this base has; tried the first time. None if it gives none."""
        tokens = self.base.family.opening(self.base.model, [0])
        memory = self.new_memory([0], most=1)
        try:
            if isinstance(memory, Strand):
                with overhearing() as overheard:
                    self.run_pieces(tokens, [0], [Piece(memory, slice(0, 1))], [], [])
                states = overheard.states
            else:
                states = self.states(torch.tensor([tokens], device=self.base.device), cache=memory)
        except Exception as error:  # noqa: BLE001 - whatever an unknown architecture does, it still answers
            log.warning("%s gives no embeddings: %s", self.base.spec.name, error)
            return None
        return None if states is None else states.shape[-1]

    @property
    def _reader(self) -> Any:
        """The part of the base that makes hidden states of a text."""
        return self.base.family.reader(self.base.model)

    @cached_property
    def token_bytes(self) -> int:
        """What the keys and values of one more token take, found by reading some.

        Memory that does not grow with the text, as of recurrent layers, is not counted.
        """
        opening = self.base.family.opening(self.base.model, [0])
        memory, sizes = self.new_memory([0], most=1), list[int]()
        if isinstance(memory, Strand):
            self.run_pieces(opening, [0], [Piece(memory, slice(0, 1))], [], [0])
            return memory.size
        for _ in range(2):
            self.logits(torch.tensor([opening], device=self.base.device), cache=memory)
            sizes.append(memory.size)
        return sizes[1] - sizes[0]

    def new_memory(self, prompt: Sequence[int], *, most: int | None = None) -> Memory | Strand:
        """An empty memory for the answer to this prompt, fit for reading together where that can be.

        Where it is, it takes no more room than for the `most` tokens.
        """
        if self.reads_together:
            return Strand(most=most)
        return self.new_cache(torch.tensor([prompt], device=self.base.device))

    def new_cache(
        self, prompts: Int[Tensor, "batch length"] | None = None, attention_mask: Tensor | None = None
    ) -> Memory:
        """An empty memory for answers to these prompts, which only an encoder-decoder needs to be told.

        It is valid for one route only: keys depend on what was added to them.
        """
        nothing = torch.empty(0, 0, dtype=torch.int64, device=self.base.device)
        asked = nothing if prompts is None else prompts
        return self.base.family.memory(self.base.model, asked, attention_mask)

    def logits(
        self,
        ids: Int[Tensor, "batch tokens"],
        *,
        route: Route | None = None,
        cache: Memory | None = None,
        attention_mask: Int[Tensor, "batch seen"] | None = None,
        witness: Witness | None = None,
    ) -> Float[Tensor, "batch tokens vocabulary"]:
        """Logits at every position; None as route is the plain base. `cache` is extended by `ids`.

        Without one `ids` are prompts. An encoder-decoder then has one position: where its answer begins.
        """
        inputs = self._inputs(ids, cache, attention_mask)
        return self.run(inputs, route=route, cache=cache, witness=witness)

    def last_logits(
        self,
        ids: Int[Tensor, "batch tokens"],
        *,
        route: Route | None = None,
        cache: Memory | None = None,
        witness: Witness | None = None,
    ) -> Float[Tensor, "batch 1 vocabulary"]:
        """Logits at the last position alone, without the cost of the others where the architecture allows."""
        trimmed = {"logits_to_keep": 1} if self._trims_logits else {}
        inputs = {**self._inputs(ids, cache, None), **trimmed}
        return self.run(inputs, route=route, cache=cache, witness=witness)[:, -1:]

    @torch.inference_mode()
    def states(
        self,
        ids: Int[Tensor, "batch tokens"],
        *,
        cache: Memory,
        route: Route | None = None,
        witness: Witness | None = None,
    ) -> Float[Tensor, "batch read width"]:
        """The last hidden states, in the base's own dtype, of `ids`, which extend `cache`.

        Of an encoder-decoder those of the prompt that the cache was made for: its encoder alone reads.
        """
        with routed_by(route, witness), overhearing() as overheard:
            self._reader(**self.base.family.hear(ids, cache))
        assert overheard.states is not None
        return overheard.states

    @torch.inference_mode()
    def run(
        self,
        inputs: Inputs,
        *,
        route: Route | None = None,
        cache: Memory | None = None,
        witness: Witness | None = None,
    ) -> Float[Tensor, "batch tokens vocabulary"]:
        """One pass with inputs that the base's family made."""
        with routed_by(route, witness):
            answer = self.base.model(**inputs)
        if cache is not None:
            self.base.family.keep(cache, answer)
        logits: Tensor = answer.logits
        return logits.float()

    @torch.inference_mode()
    def run_pieces(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        pieces: Sequence[Piece],
        crowds: Sequence[Crowd],
        rows: Sequence[int],
    ) -> Float[Tensor, "rows vocabulary"]:
        """One pass over the tokens of many answers, all behind each other; the logits of these `rows`.

        Where that is none the head has nothing to do. Hidden states are for whoever is `overhearing`.
        """
        device = self.base.device
        asked: Inputs = inputs(ids, positions, device)
        if not rows:
            with crowded(crowds), ragged(pieces):
                self._reader(**asked)
            return torch.empty(0, self.base.spec.vocabulary, device=device)
        wanted = torch.tensor(rows, device=device)
        if self._trims_logits:
            asked["logits_to_keep"] = wanted
        with crowded(crowds), ragged(pieces):
            logits: Tensor = self.base.model(**asked).logits[0]
        return (logits if self._trims_logits else logits.index_select(0, wanted)).float()

    def _inputs(self, ids: Tensor, cache: Memory | None, mask: Tensor | None) -> Inputs:
        family = self.base.family
        if cache is None:
            return family.read(self.base.model, ids, mask)
        return family.step(ids, cache) | ({} if mask is None else {"attention_mask": mask})


def _wrap(model: nn.Module, name: str) -> None:
    """Put a routed layer in the place of the named layer, once."""
    parent, _, attribute = name.rpartition(".")
    layer = model.get_submodule(name)
    if isinstance(layer, nn.Linear | Conv1D | Relaid):
        setattr(model.get_submodule(parent), attribute, RoutedLinear(name, layer))
