"""From the logits of one position to the next token, and to how likely it was."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from routing.errors import NotFinite


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: temperature 0 takes the likeliest; equal seeds draw equal tokens."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None

    def generator(self, choice: int) -> torch.Generator:
        """The source of chance for one of the choices of a request."""
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed((self.seed + choice) % 2**63)
        return generator


@dataclass(frozen=True)
class Likelihood:
    """A token's log probability, and the likeliest tokens at its place as (token, log probability)."""

    logprob: float
    alternatives: tuple[tuple[int, float], ...]


def draw(
    logits: Float[Tensor, " vocabulary"],
    sampling: Sampling,
    generator: torch.Generator,
    allowed: Bool[Tensor, " vocabulary"] | None = None,
) -> int:
    """The next token, of those that are allowed; NotFinite if the logits hold NaN or infinity."""
    if not bool(torch.isfinite(logits).all()):
        raise NotFinite("the logits hold NaN or infinity")
    if allowed is not None:
        logits = logits.masked_fill(~allowed.to(logits.device), -torch.inf)
    if sampling.temperature == 0.0:
        return int(logits.argmax())
    scores = logits.cpu().double()
    # behind the best, so that the smallest temperature overflows nothing
    probabilities = ((scores - scores.max()) / sampling.temperature).softmax(dim=-1)
    return int(torch.multinomial(_nucleus(probabilities, sampling.top_p), 1, generator=generator))


def likelihood(logits: Float[Tensor, " vocabulary"], token: int, alternatives: int) -> Likelihood:
    """How likely the model itself found this token, whatever the temperature of sampling was."""
    logprobs = logits.log_softmax(dim=-1)
    best = logprobs.topk(min(alternatives, logprobs.shape[-1]))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Likelihood(float(logprobs[token]), tuple(pairs))


def _nucleus(probabilities: Float[Tensor, " vocabulary"], top_p: float) -> Float[Tensor, " vocabulary"]:
    """Zero outside the smallest set of likeliest tokens that together reach `top_p` (arXiv 1904.09751)."""
    if top_p >= 1.0:
        return probabilities
    ordered, tokens = probabilities.sort(descending=True, stable=True)
    beyond = ordered.cumsum(dim=-1) - ordered >= top_p
    beyond[0] = False
    return probabilities.index_fill(0, tokens[beyond], 0.0)
