"""From the logits of one position to the next token, and to how likely it was."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from routing.errors import NotFinite
from routing.penalties import Penalties


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: temperature 0 takes the likeliest; equal seeds draw equal tokens.

    Of the tokens that temperature leaves likely, `min_p` keeps those at least so likely as this share of the
    likeliest one (arXiv 2407.01082), `top_k` so many of the likeliest, `top_p` the likeliest that together
    reach it (arXiv 1904.09751); in this order.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    top_k: int | None = None
    min_p: float = 0.0
    penalties: Penalties = field(default_factory=Penalties)

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
    ends = torch.stack(logits.aminmax()).tolist()  # NaN is the least and the largest wherever there is one
    if not all(math.isfinite(end) for end in ends):
        raise NotFinite("the logits hold NaN or infinity")
    if allowed is not None:
        logits = logits.masked_fill(~allowed.to(logits.device), -torch.inf)
    if sampling.temperature == 0.0:
        # torch takes eight times as long on a CPU
        return int(logits.numpy().argmax() if logits.is_cpu else logits.argmax())
    scores = logits.cpu().double()
    # behind the best, so that the smallest temperature overflows nothing
    probabilities = ((scores - scores.max()) / sampling.temperature).softmax(dim=-1)
    return int(torch.multinomial(_likely(probabilities, sampling), 1, generator=generator))


def likelihood(logits: Float[Tensor, " vocabulary"], token: int, alternatives: int) -> Likelihood:
    """How likely the model itself found this token, whatever the temperature of sampling was."""
    logprobs = logits.log_softmax(dim=-1)
    best = logprobs.topk(min(alternatives, logprobs.shape[-1]))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return Likelihood(float(logprobs[token]), tuple(pairs))


def _likely(probabilities: Float[Tensor, " vocabulary"], sampling: Sampling) -> Float[Tensor, " vocabulary"]:
    """Zero where the sampling rules a token out as not likely enough."""
    if sampling.min_p > 0.0:
        floor = sampling.min_p * probabilities.max()
        probabilities = probabilities.masked_fill(probabilities < floor, 0.0)
    if sampling.top_k is not None and sampling.top_k < len(probabilities):
        best = probabilities.topk(sampling.top_k)
        probabilities = torch.zeros_like(probabilities).scatter(0, best.indices, best.values)
    return probabilities if sampling.top_p >= 1.0 else _nucleus(probabilities, sampling.top_p)


def _nucleus(probabilities: Float[Tensor, " vocabulary"], top_p: float) -> Float[Tensor, " vocabulary"]:
    """Zero outside the smallest set of likeliest tokens that together reach this part of what is left."""
    probabilities = probabilities / probabilities.sum()
    ordered, tokens = probabilities.sort(descending=True, stable=True)
    beyond = ordered.cumsum(dim=-1) - ordered >= top_p
    beyond[0] = False
    return probabilities.index_fill(0, tokens[beyond], 0.0)
