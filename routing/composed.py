"""A composed model: a base, the experts of one index version, and how tokens are routed among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.base import Base
from routing.calibration import calibrated_pack
from routing.digests import digest_of
from routing.encoding import Encoder, pinned_encoder
from routing.factors import Factors
from routing.family import IGNORED
from routing.generation import Generation, Request
from routing.index import DEFAULT_POLICY, IndexManifest, RoutingPolicy
from routing.neutral import neutral_tokens
from routing.pack import Pack
from routing.packing import load_pack, pack_experts
from routing.profiles import Profile
from routing.queries import QueryRouter
from routing.routed import RoutedModel
from routing.routes import PromptScores, Route, Routing, needs_moments, routing_of, within_reach
from routing.sampling import Sampling
from routing.spec import BaseRef
from routing.store import IndexStore
from routing.streaming import TextToken
from routing.traces import ModuleTrace
from routing.work import Finish

GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True)
class Answer:
    """A finished answer; `shares` says which experts spoke how much, `trace` where, if that was asked for."""

    text: str
    tokens: tuple[TextToken, ...]
    finish: Finish
    shares: Mapping[str, float] = field(default_factory=dict)
    trace: Mapping[str, ModuleTrace] = field(default_factory=dict)


@dataclass(frozen=True)
class ComposedModel:
    """What a notebook holds: ask it for logits or for text, routed by the policy or as you say."""

    routed: RoutedModel
    pack: Pack
    policy: RoutingPolicy
    encoder: Encoder | None = None

    @cached_property
    def queries(self) -> QueryRouter:
        """What priors say of prompts."""
        return QueryRouter(self.routed, self.pack, self.encoder)

    @property
    def experts(self) -> tuple[str, ...]:
        """The names of the experts, in order."""
        return self.pack.experts

    def routing(self, *, router: str | None = None, experts: Sequence[str] | None = None) -> Routing:
        """The library's own routing with another router, or among these experts only."""
        said: dict[str, Any] = {} if router is None else {"router": router}
        return routing_of(self.policy, experts=None if experts is None else tuple(experts), **said)

    def prior(self, text: str | Sequence[int], prior: str) -> PromptScores:
        """What a prior of this name says of a prompt."""
        return self.queries.scores(prior, self.tokens(text))

    def logits(
        self, text: str | Sequence[int], routing: Routing | None = None
    ) -> Float[Tensor, "tokens vocabulary"]:
        """The logits at every token of `text`, in float32; see `base_logits` for the base alone.

        Of an encoder-decoder, `text` is the prompt, and there is one row: where its answer begins.
        """
        return self._logits(text, self.way(text, routing))

    def completion_logits(
        self, prompt: str | Sequence[int], completion: Sequence[int], routing: Routing | None = None
    ) -> Float[Tensor, "completion vocabulary"]:
        """The logits that predict each token of a completion, after `prompt` and what comes before it."""
        base, row = self.routed.base, (self.tokens(prompt), tuple(completion))
        batch = base.family.batch(base.model, [row], base.device)
        logits = self.routed.run(batch.inputs, route=self.way(prompt, routing))[0]
        return logits[batch.labels[0] != IGNORED]

    def base_logits(self, text: str | Sequence[int]) -> Float[Tensor, "tokens vocabulary"]:
        """The logits of the base without any expert."""
        return self._logits(text, None)

    def generate(
        self,
        text: str | Sequence[int],
        *,
        max_tokens: int = 64,
        routing: Routing | None = None,
        sampling: Sampling = GREEDY,
        stop: Sequence[str] = (),
    ) -> Answer:
        """Continue `text`, with the record of who spoke."""
        way = self.way(text, routing)
        request = Request(
            self.tokens(text), max_tokens, route=way, sampling=sampling, stop=tuple(stop), trace=True
        )
        return answer(self.routed, request)

    def tokens(self, text: str | Sequence[int]) -> tuple[int, ...]:
        """The base's tokens of a text; tokens stay as they are."""
        if not isinstance(text, str):
            return tuple(text)
        return tuple(self.routed.base.tokenizer(text)["input_ids"])

    def way(self, text: str | Sequence[int], routing: Routing | None = None) -> Route:
        """How this prompt is routed, by the policy or as you say: what a prior makes of it included."""
        return self.queries.route(routing or self.routing(), self.tokens(text))

    def _logits(self, text: str | Sequence[int], way: Route | None) -> Tensor:
        ids = torch.tensor([self.tokens(text)], device=self.routed.base.device)
        return self.routed.logits(ids, route=way)[0]


def compose(
    base: Base,
    experts: Mapping[str, Mapping[str, Factors]],
    policy: RoutingPolicy | None = None,
    *,
    gates: Mapping[str, Mapping[str, Tensor]] | None = None,
    neutral: Int[Tensor, "sequences length"] | None = None,
    profiles: Mapping[str, Profile] | None = None,
    encoder: Encoder | None = None,
) -> ComposedModel:
    """Compose experts in memory, by any names, with a base; its modules are wrapped once however often.

    `gates` are vectors [d_in] by expert and module (see `routing.gates`), `profiles` introduce experts to
    query routers (see `routing.retrieval.profile_of`), `encoder` reads prompts for them; without one the
    base does. Scores are calibrated on `neutral`; where the policy needs that and none is given, it is drawn
    from the base.
    """
    pack = pack_experts(
        experts, base.spec, gates=gates, profiles=profiles, device=base.devices, dtype=base.dtype
    )
    wanted, routed = policy or DEFAULT_POLICY, RoutedModel(base)
    if neutral is None and needs_moments(routing_of(wanted)):
        neutral = neutral_tokens(base)
    if neutral is not None:
        pack = calibrated_pack(routed, pack, neutral, neutral=digest_of(neutral.numpy().tobytes()))
    return ComposedModel(routed, pack, wanted, encoder)


def compose_version(
    store: IndexStore, manifest: IndexManifest, base: Base, *, encoder_at: BaseRef | None = None
) -> ComposedModel:
    """An index version in a store, composed with its base, calibrated where it names neutral text.

    Its own encoder, where it has one, is loaded from `encoder_at`, by default from where the version says.
    WrongBase, MissingObject, CorruptObject, WrongEncoder, or RoutingError for an expert that does not fit.
    """
    pack = load_pack(store, manifest, base.spec, device=base.devices, dtype=base.dtype)
    routed = RoutedModel(base)
    if manifest.calibration is not None:
        neutral = store.read_neutral(manifest.calibration)
        pack = calibrated_pack(routed, pack, neutral, neutral=manifest.calibration)
    reader = None if manifest.encoder is None else pinned_encoder(manifest.encoder, base, at=encoder_at)
    return ComposedModel(routed, pack, within_reach(manifest.policy, pack), reader)


def answer(model: RoutedModel, request: Request) -> Answer:
    """Run one request to its end, alone."""
    generation = Generation(model, request)
    tokens: list[TextToken] = []
    while generation.finish is None:
        tokens += generation.advance()
    return Answer(
        text="".join(token.text for token in tokens),
        tokens=tuple(tokens),
        finish=generation.finish,
        shares={} if generation.shares is None else generation.shares.by_expert(),
        trace={} if generation.trace is None else generation.trace.by_module(),
    )
