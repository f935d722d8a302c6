"""Priors: what a whole prompt, read once before the answer, says of every expert.

A prior is a function of what is known of an index version and of the prompt's tokens. `PRIORS` is the list of
all of them. Scores are natural logits, so that their softmax is a distribution over experts; `nobody` is
what the best expert must be above for the prompt not to be left to the plain base.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing import choosing
from routing.choosing import Continuations
from routing.classifier import FEWEST_PROMPTS, Classifier
from routing.encoding import BaseEncoder, Encoder
from routing.errors import BadRouting
from routing.evidence import in_deviations, recent_evidence, usual_evidence
from routing.pack import Moments, Pack
from routing.profiles import Profile, described
from routing.retrieval import Introductions, introduce, known_profiles
from routing.routed import RoutedModel
from routing.routes import PromptScores
from routing.turns import ANYBODY, Asker

NOBODYS_QUANTILE = 0.95  # so many neutral texts are left to the plain base
# Both chosen on development tasks of two worlds, see docs/decisions/0010-default-routing.md.
NOBODYS_EVIDENCE = 2.5  # deviations
SIMILARITY_WEIGHT = 0.5  # of a similarity's deviations beside those of evidence
STRANGEST_KIN = -3.0  # deviations: a prompt that is less familiar is not of an expert's own kind


@dataclass(frozen=True)
class Known:
    """What priors know of one index version; each part is worked out when it is first asked for.

    `present` says who counts as a member: everybody, unless somebody is thought away (see `routing.absence`).
    """

    model: RoutedModel
    pack: Pack
    other_encoder: Encoder | None = None

    @cached_property
    def present(self) -> Bool[Tensor, " experts"]:
        """Which experts are there: all."""
        return torch.ones(len(self.pack.experts), dtype=torch.bool, device=self.model.base.device)

    def evidence(self, prompt: Sequence[int]) -> Float[Tensor, " experts"]:
        """How far above its usual each expert's evidence is where the prompt ends; who else is there does
        not matter.
        """
        return in_deviations(recent_evidence(self.model, self.pack.judging, prompt), self.usual)

    def embedding(self, prompt: Sequence[int]) -> Float[Tensor, "1 width"]:
        """What the encoder makes of a prompt."""
        return self.encoder.encode([prompt])

    def gains(self, prompt: Sequence[int], asker: Asker = ANYBODY) -> Float[Tensor, " experts_and_nobody"]:
        """What the prompt adds to the likelihood of each description, and last of nobody's.

        Left if the asker leaves.
        """
        return self.continuations.gains(prompt, asker)

    def cost(self, prior: str, prompt: Sequence[int]) -> int:
        """How many tokens this prior reads to judge a prompt."""
        return len(prompt) + (self.continuations.unread if prior == "lm" else 0)

    @cached_property
    def continuations(self) -> Continuations:
        """The descriptions as the base reads them, and last nobody's."""
        return Continuations(self.model, [*self.descriptions, choosing.NOBODY])

    @cached_property
    def encoder(self) -> Encoder:
        """What makes embeddings of prompts: the base itself, unless another one was given."""
        return self.other_encoder or BaseEncoder(self.model.base)

    @cached_property
    def neutral(self) -> Int[Tensor, "sequences length"]:
        """The neutral text; BadRouting if the index version has none."""
        if self.pack.text is None:
            raise BadRouting("prior", "an index version without neutral text", "one with it")
        return self.pack.text.long()

    @cached_property
    def profiles(self) -> list[Profile]:
        """Every expert's profile."""
        given = self.pack.profiles or (None,) * len(self.pack.experts)
        return known_profiles(self.model.base, self.encoder, self.pack.experts, given)

    @cached_property
    def classifier(self) -> Classifier:
        """The trained head; BadRouting if there is none for this encoder."""
        head = self.pack.classifier
        if head is None or head.encoder != self.encoder.name:
            raise BadRouting("prior", "classifier", "one that this index version has")
        return head

    @cached_property
    def descriptions(self) -> list[str]:
        """Every expert's description; its name where it has none."""
        given = self.pack.profiles or (None,) * len(self.pack.experts)
        pairs = zip(self.pack.experts, given, strict=True)
        return [described(name, "") if profile is None else profile.description for name, profile in pairs]

    @cached_property
    def introductions(self) -> Introductions:
        """Everybody's embeddings, measured on neutral text."""
        return introduce(self.profiles, self.neutral_embeddings)

    @cached_property
    def introduced(self) -> Bool[Tensor, " experts"]:
        """Which experts gave enough sample prompts to tell what their own kind is."""
        given = self.pack.profiles or (None,) * len(self.pack.experts)
        enough = [
            one is not None and one.encoder == self.encoder.name and len(one.prompts) >= FEWEST_PROMPTS
            for one in given
        ]
        return torch.tensor(enough, device=self.model.base.device) & self.present

    @cached_property
    def neutral_embeddings(self) -> Float[Tensor, "sequences width"]:
        """The embeddings of the neutral text."""
        return self.encoder.encode(self.neutral.tolist())

    @cached_property
    def unmoved(self) -> float:
        """A similarity that the best introduced expert exceeds on few neutral texts only."""
        scores = self.introductions.similarities(self.neutral_embeddings)[:, self.present]
        return float(scores.amax(1).quantile(NOBODYS_QUANTILE).clamp_min(0))

    @cached_property
    def usual(self) -> Moments:
        """Mean and deviation of every expert's evidence at one token of neutral text."""
        return usual_evidence(self.model, self.pack.judging, self.neutral, self.pack.usual)


# The asker is for whom it reads: what takes long looks whether they are still there.
Prior = Callable[[Known, Sequence[int], Asker], PromptScores]


def evidence(known: Known, prompt: Sequence[int], _asker: Asker = ANYBODY) -> PromptScores:
    """From the weights alone: how far above its usual an expert's evidence is where the prompt ends.

    Gates are not asked: trained for single tokens, they judge whole prompts worse than prototypes. Evidence
    at a token is the mean over an expert's modules of its calibrated score, in deviations of that mean on
    neutral text: modules of one expert go together, so their mean varies with their number.
    """
    found = known.evidence(prompt).masked_fill(~known.present, -torch.inf)
    return PromptScores("evidence", found, lambda: NOBODYS_EVIDENCE)


def retrieval(known: Known, prompt: Sequence[int], _asker: Asker = ANYBODY) -> PromptScores:
    """From sample prompts and cards: how much the prompt resembles them (see `routing.retrieval`)."""
    scores = known.introductions.similarities(known.embedding(prompt))[0]
    return PromptScores("retrieval", scores.masked_fill(~known.present, -torch.inf), lambda: known.unmoved)


def auto(known: Known, prompt: Sequence[int], _asker: Asker = ANYBODY) -> PromptScores:
    """From whatever there is: evidence and, for the experts that gave sample prompts, similarity to them.

    Of a prompt of an expert's own kind counts also how far inside that kind it is; and that it is nobody's
    is then out of the question. Experts without samples are taken to be as similar as the nearest one, so
    that evidence decides, but never more than the strangest prompt of that one's own kind.
    """
    found = evidence(known, prompt).experts
    if not bool((known.introduced & found.isfinite()).any()):
        return PromptScores("auto", found, lambda: NOBODYS_EVIDENCE)
    embedding, gave = known.embedding(prompt), known.introduced
    alike = known.introductions.similarities(embedding)[0].masked_fill(~gave, -torch.inf)
    inside = known.introductions.familiarities(embedding)[0].masked_fill(~gave, -torch.inf) - STRANGEST_KIN
    nearest = alike.argmax()
    others = torch.minimum(alike[nearest], known.introductions.similar_as(STRANGEST_KIN)[nearest])
    scores = found + SIMILARITY_WEIGHT * torch.where(gave, alike, others) + inside.clamp_min(0)
    best = scores.argmax()
    top = torch.maximum(found.max(), NOBODYS_EVIDENCE + inside[best])  # one shift for all changes no share
    return PromptScores("auto", scores - scores[best] + top, lambda: NOBODYS_EVIDENCE)


def classifier(known: Known, prompt: Sequence[int], _asker: Asker = ANYBODY) -> PromptScores:
    """From a head that was trained on sample prompts: log-probabilities (see `routing.classifier`).

    Experts that it does not know share what it gives to nobody, by retrieval, with nobody.
    """
    head, there = known.classifier, known.present.tolist()
    place = {name: at for name, at in known.pack.places.items() if there[at]}
    embeddings = known.embedding(prompt)
    classes = head.log_probabilities(embeddings)[0]
    scores = torch.full((len(there),), -torch.inf, device=classes.device)
    members = [(place[name], row) for row, name in enumerate(head.experts) if name in place]
    scores[[at for at, _row in members]] = classes[[row for _at, row in members]]
    strangers = [at for name, at in place.items() if name not in head.experts]
    if not strangers:
        return PromptScores("classifier", scores, lambda: float(classes[-1]))
    alike = known.introductions.similarities(embeddings)[0][strangers]
    threshold = alike.new_tensor([known.unmoved])
    shares = torch.cat([alike, threshold]).log_softmax(-1) + classes[-1]
    scores[strangers] = shares[:-1].to(scores)
    return PromptScores("classifier", scores, lambda: float(shares[-1]))


def lm(known: Known, prompt: Sequence[int], asker: Asker = ANYBODY) -> PromptScores:
    """From descriptions, by the base's own judgement (see `routing.choosing`)."""
    base = known.model.base
    if base.model.config.is_encoder_decoder:
        raise BadRouting("prior", "lm", "another one: this base does not continue a text")
    found = known.gains(prompt, asker)
    return PromptScores("lm", found[:-1].masked_fill(~known.present, -torch.inf), lambda: float(found[-1]))


PRIORS: Mapping[str, Prior] = MappingProxyType(
    {"auto": auto, "classifier": classifier, "evidence": evidence, "lm": lm, "retrieval": retrieval}
)
