"""From the logits of one position to the next token, and to how likely it was."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.errors import NotFinite
from routing.penalties import Penalties

SEEDS = 2**63  # that a generator can tell apart
ROUNDS, COARSER = 3, 30.0  # how often a floor for candidates is lowered, and by which factor
ROUNDING = 1e-9  # more than sums of probabilities in float64 are off


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
        """The source of chance for one of the choices of a request.

        Seeds and choices are mixed, so that no other seed draws the same for another choice.
        """
        generator = torch.Generator()
        if self.seed is None:
            generator.seed()
        elif not choice:
            generator.manual_seed(self.seed % SEEDS)
        else:
            mixed = hashlib.blake2b(f"{self.seed} {choice}".encode(), digest_size=8).digest()
            generator.manual_seed(int.from_bytes(mixed) % SEEDS)
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
    return _one_of(_likely(probabilities, sampling), generator)


def _one_of(shares: Float[Tensor, " vocabulary"], generator: torch.Generator) -> int:
    """A token, each as often as its part of the sum of all; `multinomial` draws a number for every token."""
    reached = shares.cumsum(dim=-1)
    whole = reached[-1]
    if not bool(whole > 0.0):
        raise ValueError("no token is allowed")
    spot = torch.rand((), dtype=shares.dtype, generator=generator) * whole
    below = torch.nextafter(whole, torch.zeros_like(whole))  # which rounding may have reached
    return int(torch.searchsorted(reached, torch.minimum(spot, below), right=True))


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
    candidates = _reaching(probabilities, top_p)
    ordered, order = probabilities[candidates].sort(descending=True, stable=True)
    within = ordered.cumsum(dim=-1) - ordered < top_p
    within[0] = True
    tokens = candidates[order[within]]
    return torch.zeros_like(probabilities).index_copy(0, tokens, probabilities[tokens])


def _reaching(probabilities: Float[Tensor, " vocabulary"], top_p: float) -> Int[Tensor, " candidates"]:
    """All that are at least so likely that together they reach this part: sorting few takes little."""
    floor = float(probabilities.max())
    for _ in range(ROUNDS):
        floor /= COARSER
        candidates = (probabilities >= floor).nonzero()[:, 0]
        if float(probabilities[candidates].sum()) > top_p + ROUNDING:
            return candidates
    return torch.arange(len(probabilities))
