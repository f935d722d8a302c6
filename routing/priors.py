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
from jaxtyping import Float, Int
from torch import Tensor

from routing import choosing
from routing.calibration import ROWS_AT_ONCE, survey
from routing.classifier import Classifier
from routing.encoding import BaseEncoder, Encoder
from routing.errors import BadRouting
from routing.pack import ModulePack, Pack
from routing.profiles import Profile, described
from routing.retrieval import Introductions, introduce, known_profiles
from routing.routed import RoutedModel
from routing.routes import PromptScores
from routing.scores import evidence as expert_evidence

NOBODYS_QUANTILE = 0.95  # so many neutral texts are left to the plain base


@dataclass(frozen=True)
class Known:
    """What priors know of one index version; each part is worked out when it is first asked for."""

    model: RoutedModel
    pack: Pack
    other_encoder: Encoder | None = None

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
    def neutral_embeddings(self) -> Float[Tensor, "sequences width"]:
        """The embeddings of the neutral text."""
        return self.encoder.encode(self.neutral.tolist())

    @cached_property
    def unmoved(self) -> Mapping[str, float]:
        """By prior, a score that the best expert exceeds on few neutral texts only."""
        found = {
            "evidence": evidence_scores(self.model, self.pack, self.neutral),
            "retrieval": self.introductions.similarities(self.neutral_embeddings),
        }
        return {
            name: float(scores.amax(1).quantile(NOBODYS_QUANTILE).clamp_min(0))
            for name, scores in found.items()
        }


Prior = Callable[[Known, Sequence[int]], PromptScores]


def evidence(known: Known, prompt: Sequence[int]) -> PromptScores:
    """From the routing vectors alone: the mean over tokens and modules of an expert's calibrated score."""
    tokens = torch.tensor([list(prompt)])
    scores = evidence_scores(known.model, known.pack, tokens)[0]
    return PromptScores("evidence", scores, lambda: known.unmoved["evidence"])


def retrieval(known: Known, prompt: Sequence[int]) -> PromptScores:
    """From sample prompts and cards: how much the prompt resembles them (see `routing.retrieval`)."""
    scores = known.introductions.similarities(known.encoder.encode([prompt]))[0]
    return PromptScores("retrieval", scores, lambda: known.unmoved["retrieval"])


def classifier(known: Known, prompt: Sequence[int]) -> PromptScores:
    """From a head that was trained on sample prompts: log-probabilities (see `routing.classifier`).

    Experts that it does not know share what it gives to nobody, by retrieval, with nobody.
    """
    head, place = known.classifier, known.pack.places
    embeddings = known.encoder.encode([prompt])
    classes = head.log_probabilities(embeddings)[0]
    scores = torch.full((len(place),), -torch.inf, device=classes.device)
    members = [(place[name], row) for row, name in enumerate(head.experts) if name in place]
    scores[[at for at, _row in members]] = classes[[row for _at, row in members]]
    strangers = [at for name, at in place.items() if name not in head.experts]
    if not strangers:
        return PromptScores("classifier", scores, lambda: float(classes[-1]))
    alike = known.introductions.similarities(embeddings)[0][strangers]
    threshold = alike.new_tensor([known.unmoved["retrieval"]])
    shares = torch.cat([alike, threshold]).log_softmax(-1) + classes[-1]
    scores[strangers] = shares[:-1].to(scores)
    return PromptScores("classifier", scores, lambda: float(shares[-1]))


def lm(known: Known, prompt: Sequence[int]) -> PromptScores:
    """From descriptions, by the base's own judgement (see `routing.choosing`)."""
    base = known.model.base
    if base.model.config.is_encoder_decoder:
        raise BadRouting("prior", "lm", "another one: this base does not continue a text")
    found = choosing.gains(base, prompt, [*known.descriptions, choosing.NOBODY])
    return PromptScores("lm", found[:-1], lambda: float(found[-1]))


PRIORS: Mapping[str, Prior] = MappingProxyType(
    {"classifier": classifier, "evidence": evidence, "lm": lm, "retrieval": retrieval}
)


def evidence_scores(
    model: RoutedModel, pack: Pack, tokens: Int[Tensor, "prompts length"]
) -> Float[Tensor, "prompts experts"]:
    """For each prompt and expert the mean over tokens and its modules of its score in deviations.

    One such score is weak evidence, their mean is strong. An expert of no module gets minus infinity.
    """
    found = [_evidence_of(model, pack, rows) for rows in tokens.split(ROWS_AT_ONCE)]
    return torch.cat(found)


def _evidence_of(
    model: RoutedModel, pack: Pack, tokens: Int[Tensor, "prompts length"]
) -> Float[Tensor, "prompts experts"]:
    total = torch.zeros(len(tokens), len(pack.experts), device=model.base.device)
    seen = torch.zeros(len(pack.experts), device=model.base.device)

    def look(_name: str, hidden: Tensor, module: ModulePack) -> None:
        # a decoder that has only begun counts as the one token that it has read, beside a whole prompt
        scores = expert_evidence(hidden, module).view(len(tokens), -1, len(module))
        total[:, module.member_ids] += scores.sum(1)
        seen[module.member_ids] += scores.shape[1]

    survey(model, pack, tokens, look)
    return torch.where(seen > 0, total / seen.clamp_min(1), -torch.inf)
