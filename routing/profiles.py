"""Profiles: what an expert is introduced by to query routers, a description and embeddings.

Everything in a profile is published with the index version that names it, embeddings of sample prompts too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

LONGEST_DESCRIPTION = 300
MOST_PROMPTS = 128


@dataclass(frozen=True)
class Profile:
    """One expert's introduction. `encoder` says by what the embeddings were made; raw, as it gave them.

    `prompts` are embeddings of prompts that its contributor gave; there may be none, and `card`, the
    embedding of the description, then stands for them.
    """

    description: str
    encoder: str
    card: Float[Tensor, " width"]
    prompts: Float[Tensor, "prompts width"]

    @property
    def rows(self) -> Float[Tensor, "rows width"]:
        """What a prompt is compared with: the sample prompts or, without any, the card."""
        return self.prompts if len(self.prompts) else self.card.unsqueeze(0)


def spoken_name(adapter: str) -> str:
    """What an adapter's name says to a reader who knows nothing else of it."""
    return " ".join(adapter.rpartition("/")[2].replace("-", " ").replace("_", " ").split())


def described(adapter: str, description: str) -> str:
    """A description as query routers read it: one line that begins with the adapter's name."""
    said = " ".join(description.split())
    name = spoken_name(adapter)
    return (f"{name}: {said}" if said else name)[:LONGEST_DESCRIPTION]


def sample_of(prompts: Sequence[str]) -> list[str]:
    """At most `MOST_PROMPTS` of the different prompts, evenly spaced in their order."""
    different = list(dict.fromkeys(prompts))
    if len(different) <= MOST_PROMPTS:
        return different
    places = torch.linspace(0, len(different) - 1, MOST_PROMPTS).round().long().tolist()
    return [different[place] for place in places]
