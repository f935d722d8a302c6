"""Retrieval: an expert is for the prompts that its sample prompts, or at least its card, resemble.

Embeddings are standardised by those of neutral text, entry by entry. An expert's similarity is the largest
cosine of the prompt with any of its rows, under Fisher's transformation, in deviations from its mean on
neutral text: so an expert with a hundred sample prompts and one with nothing but a card can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from routing.base import Base
from routing.encoding import Encoder, prompt_tokens
from routing.pack import Moments
from routing.profiles import Profile, described, sample_of

SMALLEST_DEVIATION = 1e-3
SMALLEST_KIN_DEVIATION = 0.05  # sample prompts may be alike to a word, and others of their kind are not
LARGEST_COSINE = 1 - 1e-4  # where Fisher's transformation is still finite


@dataclass(frozen=True)
class Introductions:
    """All experts of an index version as a prompt is compared with them.

    `rows` are standardised and of unit length, row i belongs to expert `owners[i]`; `mean` and `deviation`
    are those of each expert's similarity on neutral text, `kin` those of each of its rows to its others.
    """

    centre: Float[Tensor, " width"]
    scale: Float[Tensor, " width"]
    rows: Float[Tensor, "rows width"]
    owners: Int[Tensor, " rows"]
    mean: Float[Tensor, " experts"]
    deviation: Float[Tensor, " experts"]
    kin: Moments

    def similarities(self, embeddings: Float[Tensor, "prompts width"]) -> Float[Tensor, "prompts experts"]:
        """Each prompt's similarity to each expert, in deviations from its mean on neutral text."""
        return (self._raw(embeddings) - self.mean) / self.deviation

    def familiarities(self, embeddings: Float[Tensor, "prompts width"]) -> Float[Tensor, "prompts experts"]:
        """The same in deviations from how alike an expert's own rows are: near zero for one more of them."""
        return (self._raw(embeddings) - self.kin.mean) / self.kin.deviation

    def similar_as(self, familiarity: float) -> Float[Tensor, " experts"]:
        """The similarity to each expert of a prompt that is as familiar to it."""
        return (self.kin.mean + familiarity * self.kin.deviation - self.mean) / self.deviation

    def _raw(self, embeddings: Float[Tensor, "prompts width"]) -> Float[Tensor, "prompts experts"]:
        cosines = _unit(embeddings, self.centre, self.scale) @ self.rows.T
        best = cosines.new_full((len(cosines), len(self.mean)), -1.0)
        best.scatter_reduce_(1, self.owners.expand(len(cosines), -1), cosines, "amax")
        return _fisher(best)


def introduce(profiles: Sequence[Profile], neutral: Float[Tensor, "texts width"]) -> Introductions:
    """Introduce experts to each other's prompts; `neutral` are embeddings of neutral text."""
    centre, scale = neutral.mean(0), neutral.std(0, correction=0).clamp_min(SMALLEST_DEVIATION)
    rows = torch.cat([profile.rows for profile in profiles]).to(neutral.device)
    owners = torch.tensor([place for place, profile in enumerate(profiles) for _ in profile.rows])
    nothing = neutral.new_zeros(len(profiles))
    unit = _unit(rows, centre, scale)
    kin = [_kin(own) for own in unit.split([len(profile.rows) for profile in profiles])]
    alike = Moments(*(torch.stack(part) for part in zip(*kin, strict=True)))
    plain = Introductions(centre, scale, unit, owners.to(neutral.device), nothing, nothing + 1, alike)
    found = plain.similarities(neutral)
    return Introductions(
        centre,
        scale,
        plain.rows,
        plain.owners,
        found.mean(0),
        found.std(0, correction=0).clamp_min(SMALLEST_DEVIATION),
        alike,
    )


def profile_of(
    base: Base, encoder: Encoder, *, adapter: str, description: str = "", prompts: Sequence[str] = ()
) -> Profile:
    """The profile of one expert, from what its contributor says of it."""
    said, chosen = described(adapter, description), sample_of(prompts)
    found = encoder.encode([prompt_tokens(base, text) for text in [said, *chosen]]).float().cpu()
    return Profile(said, encoder.name, found[0], found[1:])


def known_profiles(
    base: Base, encoder: Encoder, experts: Sequence[str], profiles: Sequence[Profile | None]
) -> list[Profile]:
    """A profile for every expert: an expert without one is introduced by its name.

    Embeddings of another encoder say nothing here: what remains of such a profile is its description.
    """
    found = []
    for adapter, profile in zip(experts, profiles, strict=True):
        if profile is None:
            found.append(profile_of(base, encoder, adapter=adapter))
        elif profile.encoder != encoder.name:
            card = encoder.encode([prompt_tokens(base, profile.description)])[0].float().cpu()
            found.append(Profile(profile.description, encoder.name, card, card.new_zeros(0, len(card))))
        else:
            found.append(profile)
    return found


def _kin(rows: Float[Tensor, "rows width"]) -> Moments:
    """Mean and deviation of each row's similarity to the most similar of the others; a row alone has none."""
    cosines = (rows @ rows.T).fill_diagonal_(-1.0)
    found = _fisher(cosines.amax(1))
    return Moments(found.mean(), found.std(correction=0).clamp_min(SMALLEST_KIN_DEVIATION))


def _fisher(cosines: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return cosines.clamp(-LARGEST_COSINE, LARGEST_COSINE).atanh()


def _unit(
    embeddings: Float[Tensor, "prompts width"],
    centre: Float[Tensor, " width"],
    scale: Float[Tensor, " width"],
) -> Float[Tensor, "prompts width"]:
    return functional.normalize((embeddings.to(centre.device).float() - centre) / scale, dim=-1)
