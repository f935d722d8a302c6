"""Embeddings: what a base, composed or plain, makes of a whole text, as one vector of length one.

The mean of the text's last hidden states, which its head would turn into logits; of an encoder-decoder those
of its encoder (arXiv 2108.08877). Why so is said in docs/decisions/0037-embeddings.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from routing.errors import NotFinite
from routing.ragged import Strand
from routing.routed import RoutedModel
from routing.routes import Route
from routing.streaming import TextToken
from routing.together import Heard, Reading
from routing.uses import Uses
from routing.work import PREFILL_CHUNK, Work


class Embedding(Work):
    """The state of one embedding: read like the prompt of an answer, at its end where that would begin."""

    def __init__(
        self,
        model: RoutedModel,
        prompt: Sequence[int],
        *,
        route: Route | None = None,
        uses: Uses | None = None,
    ) -> None:
        super().__init__(model, prompt, route, most=len(prompt), uses=uses)
        self._sum: Float[Tensor, " width"] | None = None

    @property
    def vector(self) -> Float[Tensor, " width"]:
        """What it has come to, in float32 on the CPU; NotFinite if the hidden states held NaN or infinity."""
        assert self._sum is not None
        vector = torch.nn.functional.normalize(self._sum, dim=0).float()
        if not bool(torch.isfinite(vector).all()):
            raise NotFinite("the hidden states hold NaN or infinity")
        return vector

    def reading(self, most: int = PREFILL_CHUNK) -> Reading:
        return Reading(tuple(self._unread[:most]), self._memory, self.route, wants="states")

    def hear(self, reading: Reading, heard: Heard) -> list[TextToken]:
        assert heard.states is not None
        self._unread = self._unread[len(reading.tokens) :]
        self._listen(heard)
        self._count_uses(heard)
        self.read_tokens += reading.tokens
        part = heard.states.double().sum(dim=0).cpu()
        self._sum = part if self._sum is None else self._sum + part
        if not self._unread:
            self.finish = "stop"
            self._memory = Strand()
            self.route = None  # whoever still wants the vector must not hold its experts in memory
        return []


def embed(model: RoutedModel, prompt: Sequence[int], *, route: Route | None = None) -> Embedding:
    """The embedding of one prompt, run to its end, alone."""
    embedding = Embedding(model, prompt, route=route)
    while embedding.finish is None:
        embedding.advance()
    return embedding
