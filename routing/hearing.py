"""Hearing: routes through a bare pack, of which only those who may speak are brought into memory.

A request whose experts fit into the half of the memory that there always is, whatever is set aside for
vectors, is routed as through the whole pack. One that names more experts than fit at all is refused. Any
other is narrowed: its prompt is judged, by the prior that its routing names, and the best experts stay, as
many as a share of that half holds, so that several answers can be under way. Each token is then routed among
these, exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from routing.errors import BadRouting
from routing.evidence import recent_evidence
from routing.pack import Pack, places_of
from routing.resident import ResidentPack
from routing.routed import RoutedModel
from routing.routers import FROM_WEIGHTS, READ_FACTORS, ROUTERS
from routing.routes import (
    ON_NEUTRAL_TEXT,
    Narrowed,
    PromptScores,
    Route,
    Routing,
    route,
    scores_calibrated,
    speakers,
)
from routing.scores import arrow
from routing.subtracting import prepared
from routing.turns import ANYBODY, Asker

MOST = 32  # experts that a request is narrowed to: behind the best of a prompt others hardly ever speak
SHARE = 4  # so many narrowed prompts fit into that half side by side
RAW = "arrow"  # what judges a prompt where nothing was measured on neutral text
Places = frozenset[int]


@dataclass(frozen=True)
class Plan:
    """How one prompt's answer is routed, once the prompt has been read; `routing` None: by nobody."""

    routing: Routing | None
    said: PromptScores | None = None
    narrowed: Narrowed | None = None


@dataclass(frozen=True)
class Hearing:
    """The way from plans to routes through one resident pack; `scores` asks a prior about a prompt, in the
    name of the asker.
    """

    model: RoutedModel
    resident: ResidentPack
    scores: Callable[[str, Sequence[int]], PromptScores]
    asker: Asker = ANYBODY

    @property
    def pack(self) -> Pack:
        """The bare pack."""
        return self.resident.pack

    def unheard(self, routing: Routing) -> Route:
        """A route that cannot be run: it is as wide as one that can, and fails as one of any prompt would."""
        if routing.subtracts:
            places_of(self.pack, routing.general)
        way = route(self.pack, replace(routing, subtract=0.0))
        return replace(way, router=ROUTERS["arrow"]) if routing.router in FROM_WEIGHTS else way

    def routes(
        self, routing: Routing, plans: Sequence[Plan], prompts: Sequence[Sequence[int]]
    ) -> list[Route]:
        """The routes of one request's prompts, ready to be run.

        BadRouting where experts do not fit and no prompt can choose among them; errors also as
        `ResidentPack.packs` and `routing.routes.route`.
        """
        lists = [self._list(plan) for plan in plans]
        steady = self.resident.shelf.steady
        if self.resident.need(*lists) > steady:
            share = steady // (SHARE * len(plans))
            plans = [
                self._narrowed(routing, plan, prompt, share)
                for plan, prompt in zip(plans, prompts, strict=True)
            ]
            lists = [self._list(plan) for plan in plans]
        asked = [places for places in dict.fromkeys(lists) if places]
        packs, stay = self.resident.packs(asked, self.asker)
        heard = dict(zip(asked, packs, strict=True))
        return [
            self._way(routing, plan, heard.get(places), stay)
            for plan, places in zip(plans, lists, strict=True)
        ]

    def _list(self, plan: Plan) -> Places:
        """Whose factors an answer needs: those who may speak, and those whose knowledge is subtracted."""
        if plan.routing is None:
            return frozenset()
        return self._speakers(plan.routing) | self._general(plan.routing)

    def _speakers(self, routing: Routing) -> Places:
        allowed = speakers(self.pack, routing)
        return frozenset(range(len(self.pack.experts))) if allowed is None else allowed

    def _general(self, routing: Routing) -> Places:
        return places_of(self.pack, routing.general) if routing.subtracts else frozenset()

    def _narrowed(self, asked: Routing, plan: Plan, prompt: Sequence[int], size: int) -> Plan:
        """The plan with the experts that so many bytes hold, unless the request itself named them."""
        routing = plan.routing
        if routing is None or asked.experts is not None:
            return plan
        all_of_them = self._speakers(routing)
        self._require_choice(routing, len(all_of_them), prompt)
        scores, prior = self._judged(plan, routing, prompt)
        order = [place for place in _best_first(scores) if place in all_of_them]
        if not order:
            return replace(plan, routing=None)
        kept = self.resident.worth(order, size, most=MOST, beside=self._general(routing))
        if len(kept) == len(all_of_them):
            return plan
        names = tuple(self.pack.experts[place] for place in sorted(kept))
        return Plan(
            replace(routing, experts=names, shortlist=0),
            plan.said,
            Narrowed(len(all_of_them), len(kept), prior),
        )

    def _require_choice(self, routing: Routing, experts: int, prompt: Sequence[int]) -> None:
        """BadRouting where narrowing would be another thing than what was asked for."""
        if routing.router == "uniform":
            found = f"uniform, the mean of {experts} experts, which do not fit into memory"
            raise BadRouting("router", found, "another router, or `experts` that fit")
        if not prompt:
            found = f"no prompt, with {experts} experts, which do not fit into memory"
            raise BadRouting("prior_tokens", found, "a prompt to choose among them by, or `experts` that fit")

    def _judged(
        self, plan: Plan, routing: Routing, prompt: Sequence[int]
    ) -> tuple[Float[Tensor, " experts"], str]:
        """What the prompt says of every expert, and by which prior."""
        if plan.said is not None:
            return plan.said.experts, plan.said.prior
        prior = self._prior(routing)
        if prior != RAW:
            return self.scores(prior, prompt).experts, prior
        with self.asker.turn(len(prompt)):
            found = recent_evidence(self.model, self.pack.judging, prompt, score=arrow)
        return found.nan_to_num(nan=-torch.inf), prior

    def _prior(self, routing: Routing) -> str:
        """The prior that the routing names, as far as this index version can follow it.

        The base's own judgement of so many descriptions would take minutes: it is not asked for this alone.
        """
        measured = self.pack.neutral is not None
        if routing.prior == "classifier" and self.pack.classifier is not None:
            return routing.prior
        if measured and routing.prior in ON_NEUTRAL_TEXT:
            return routing.prior
        return "evidence" if measured else RAW

    def _way(self, asked: Routing, plan: Plan, pack: Pack | None, stay: object) -> Route:
        """The route of a plan through the experts that were brought in for it; None: there are none."""
        if plan.routing is None or pack is None:
            return Route(self.pack, ROUTERS[asked.router], {}, plan.said)
        routing = plan.routing
        unmeasured = routing.router in READ_FACTORS or self.pack.excerpt is not None
        if scores_calibrated(routing) and unmeasured and pack.text is not None:
            pack = self.resident.measured(pack)
        way = route(pack, routing, plan.said, prepared(self.model, pack, routing, self.asker))
        return replace(way, pack=self.pack, narrowed=plan.narrowed, stay=stay)


def _best_first(scores: Float[Tensor, " experts"]) -> list[int]:
    """Places by falling score; who must not speak is left out."""
    order: list[int] = scores.argsort(descending=True, stable=True).tolist()
    finite = scores.isfinite().tolist()
    return [place for place in order if finite[place]]
