"""Penalties and biases: what an answer has said, or whoever asked, weighs on which token comes next.

Likelihoods stay the model's own; a guide rules out tokens after all this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Penalties:
    """How the logits of an answer are bent before its next token is drawn.

    `presence` is taken once from each token that the answer holds, `frequency` as often as it holds it
    (OpenAI's definitions). `repetition` (arXiv 1909.05858) divides the positive logits of tokens in prompt or
    answer and multiplies the negative ones. `bias` is added to the logits of single tokens.
    """

    presence: float = 0.0
    frequency: float = 0.0
    repetition: float = 1.0
    bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def bend(self) -> bool:
        """Whether they change anything."""
        return bool(self.presence or self.frequency or self.repetition != 1.0 or self.bias)


class Bent:
    """The penalties of one answer, which follow what it says."""

    def __init__(
        self, penalties: Penalties, prompt: Sequence[int], logits: Float[Tensor, " vocabulary"]
    ) -> None:
        """`logits` are any of this answer's: they say how large the vocabulary is, and where to compute."""
        self._penalties = penalties
        self._counts = torch.zeros_like(logits)
        self._bias = torch.zeros_like(logits)
        self._bias[list(penalties.bias)] = logits.new_tensor(list(penalties.bias.values()))
        self._known = torch.zeros_like(logits, dtype=torch.bool)
        self._known[list(prompt)] = True

    def hear(self, token: int) -> None:
        """The answer goes on with a token."""
        self._counts[token] += 1
        self._known[token] = True

    def of(self, logits: Float[Tensor, " vocabulary"]) -> Float[Tensor, " vocabulary"]:
        """The logits that the next token is drawn by; those of the model stay as they are."""
        asked, bent = self._penalties, logits
        if asked.repetition != 1.0:
            smaller = torch.where(bent > 0, bent / asked.repetition, bent * asked.repetition)
            bent = torch.where(self._known, smaller, bent)
        taken = asked.frequency * self._counts + asked.presence * (self._counts > 0)
        return bent - taken + self._bias
