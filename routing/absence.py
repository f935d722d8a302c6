"""Absence: a composed model as it would be without one of its experts. Nothing is assembled anew.

The expert's seat stays empty in every route. What it changes by being there, though it never speaks, is
taken back as well: whom priors compare with whom, the classifier of prompts, the mean of general knowledge.
So every route is that of an index version that was made without it, of the same policy and neutral text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from routing.choosing import Continuations
from routing.classifier import Classifier, TooFewPrompts, train_classifier
from routing.composed import ComposedModel
from routing.encoding import Encoder
from routing.errors import UnknownExpert
from routing.hearing import Plan
from routing.pack import Moments, Pack
from routing.priors import Known
from routing.profiles import Profile
from routing.queries import QueryRouter
from routing.retrieval import Introductions
from routing.routers import QUERY_ROUTERS, ROUTERS
from routing.routes import Route, Routing, routing_of, within_reach
from routing.turns import ANYBODY, Asker

# Routers that count heads, or make a first list: to them it matters who is there, even who is silent.
COUNT_THE_SILENT = frozenset({"single", "two-stage", "uniform"})
SAME_SCORES = 1e-6  # natural logits


@dataclass(frozen=True)
class Readings:
    """What is said of prompts whoever is there: each is read once, however many experts are thought away.

    `spent` is told how many tokens a reading took; what it raises ends the work.
    """

    known: Known
    spent: Callable[[int], None] = lambda _tokens: None
    _kept: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def evidence(self, prompt: Sequence[int]) -> Float[Tensor, " experts"]:
        """As `Known.evidence`."""
        return self._read("evidence", prompt, self.known.evidence)

    def embedding(self, prompt: Sequence[int]) -> Float[Tensor, "1 width"]:
        """As `Known.embedding`."""
        return self._read("embedding", prompt, self.known.embedding)

    def gains(self, prompt: Sequence[int]) -> Float[Tensor, " experts_and_nobody"]:
        """As `Known.gains`."""
        return self._read("gains", prompt, self.known.gains)

    @cached_property
    def lengths(self) -> Float[Tensor, " experts_and_nobody"]:
        """How long the descriptions are, in tokens, and last nobody's."""
        return self.known.continuations.lengths

    def _read(self, kind: str, prompt: Sequence[int], read: Callable[[Sequence[int]], Tensor]) -> Tensor:
        key = kind, tuple(prompt)
        if key not in self._kept:
            self._kept[key] = read(prompt)
            self.spent(len(prompt))
        return self._kept[key]


@dataclass(frozen=True)
class KnownOfOthers(Known):
    """What priors know of an index version without the expert at `place`."""

    _: KW_ONLY
    readings: Readings
    place: int

    @cached_property
    def present(self) -> Bool[Tensor, " experts"]:
        there = self._whole.present.clone()
        there[self.place] = False
        return there

    def evidence(self, prompt: Sequence[int]) -> Float[Tensor, " experts"]:
        return self.readings.evidence(prompt)

    def embedding(self, prompt: Sequence[int]) -> Float[Tensor, "1 width"]:
        return self.readings.embedding(prompt)

    def gains(self, prompt: Sequence[int], _asker: Asker = ANYBODY) -> Float[Tensor, " experts_and_nobody"]:
        """In nats for a text of mean length, and that mean is another one now."""
        lengths = self.readings.lengths
        there = torch.cat([self.present, self.present.new_ones(1)])
        return self.readings.gains(prompt) * (lengths[there].mean() / lengths.mean())

    @cached_property
    def encoder(self) -> Encoder:
        return self._whole.encoder

    @cached_property
    def neutral(self) -> Int[Tensor, "sequences length"]:
        return self._whole.neutral

    @cached_property
    def profiles(self) -> list[Profile]:
        return self._whole.profiles

    @cached_property
    def descriptions(self) -> list[str]:
        return self._whole.descriptions

    @cached_property
    def continuations(self) -> Continuations:
        return self._whole.continuations

    @cached_property
    def introductions(self) -> Introductions:
        return self._whole.introductions

    @cached_property
    def neutral_embeddings(self) -> Float[Tensor, "sequences width"]:
        return self._whole.neutral_embeddings

    @cached_property
    def usual(self) -> Moments:
        return self._whole.usual

    @property
    def _whole(self) -> Known:
        return self.readings.known


@dataclass(frozen=True)
class Without:
    """A composed model without one expert. `routing` says who may speak: nobody, if it was the only one."""

    expert: str
    routing: Routing
    queries: QueryRouter

    def plan(self, prompt: Sequence[int]) -> Plan:
        """Who may speak in the answer to this prompt. Errors as `routing.queries`."""
        return Plan(None) if self.routing.experts == () else self.queries.plan(self.routing, prompt)

    def route(self, prompt: Sequence[int]) -> Route:
        """The route of this prompt's answer. Errors as `routing.queries`."""
        if self.routing.experts == ():
            return Route(self.queries.known.pack, ROUTERS[self.routing.router], {})
        return self.queries.route(self.routing, prompt)


def without(model: ComposedModel, expert: str, readings: Readings) -> Without:
    """Think an expert away. `readings` are of `model.queries.known` and shared by all that are thought away.

    UnknownExpert for a name that is not in the pack.
    """
    if expert not in model.pack.places:
        raise UnknownExpert(f"not in this index version: {expert}")
    whole = model.routing()
    pack = _classified_anew(readings.known, expert, whole)
    policy = replace(model.policy, general=tuple(name for name in whole.general if name != expert))
    others = tuple(name for name in model.experts if name not in {expert, *policy.general})
    known = KnownOfOthers(
        readings.known.model,
        pack,
        readings.known.other_encoder,
        readings=readings,
        place=pack.places[expert],
    )
    routing = routing_of(within_reach(policy, pack))
    return Without(
        expert,
        replace(routing, experts=others),
        QueryRouter(known.model, pack, known.other_encoder, known=known),
    )


def _classified_anew(known: Known, expert: str, routing: Routing) -> Pack:
    """The pack with the classifier that would have been trained without this expert; None where two others
    with sample prompts are lacking. As it is where nobody asks the classifier, or that never knew the expert.
    """
    head = known.pack.classifier
    if routing.asked_prior != "classifier" or head is None or expert not in head.experts:
        return known.pack
    return replace(known.pack, classifier=_trained_without(known, expert))


def _trained_without(known: Known, expert: str) -> Classifier | None:
    profiles = {
        name: profile
        for name, profile in zip(known.pack.experts, known.pack.profiles, strict=True)
        if profile is not None and name != expert
    }
    try:
        return train_classifier(profiles, known.neutral_embeddings, encoder=known.encoder.name)[0]
    except TooFewPrompts:
        return None


def by_tokens_alone(routing: Routing, expert: str) -> bool:
    """Whether a text at none of whose tokens the expert is chosen is routed the same way without it.

    Then all the routers that are left take the k best scores of each token and mix them by these alone.
    """
    taught = routing.subtracts and expert in routing.general
    return routing.asked_prior is None and routing.router not in COUNT_THE_SILENT and not taught


def same_plan(whole: Plan, others: Plan, routing: Routing) -> bool:
    """Whether two plans of one prompt route it the same way, as long as tokens are routed by themselves alone
    among those who may speak. `routing` is the one that both began with.
    """
    if whole.routing is None or others.routing is None:
        return whole.routing is others.routing
    chosen = whole.routing.experts or ()
    if set(chosen) != set(others.routing.experts or ()):
        return False
    if routing.router not in QUERY_ROUTERS and not routing.prior_weight:
        return True
    first, second = (one.said for one in (whole, others))
    if first is None or second is None:
        return first is second
    return len(chosen) > 0 and _apart_by_a_constant(first.experts - second.experts)


def _apart_by_a_constant(differences: Float[Tensor, " experts"]) -> bool:
    """Whether no share changes: of who is not there in either, a difference of infinities says nothing."""
    found = differences[differences.isfinite()]
    return len(found) > 0 and cast("float", (found.max() - found.min()).item()) < SAME_SCORES
