"""Query routers: a prompt is read once, and what a prior makes of it shapes the route of its answer.

It may name the only experts that answer (routers `retrieval`, ...), narrow the experts among whom tokens are
routed (`shortlist`), be added to every token's scores (`prior_weight`), and leave the prompt to the plain
base (`prior_abstain`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import replace
from functools import partial

import torch

from routing.encoding import Encoder
from routing.hearing import Hearing, Plan
from routing.pack import Pack, places_of
from routing.priors import PRIORS, Known
from routing.resident import ResidentPack
from routing.routed import RoutedModel
from routing.routers import QUERY_ROUTERS, ROUTERS
from routing.routes import PromptScores, Route, Routing, route, speakers
from routing.subtracting import prepared
from routing.turns import ANYBODY, Asker

REMEMBERED = 256  # prompts whose scores are kept: the choices and retries of a request ask again
_Key = tuple[Hashable, str, tuple[int, ...]]  # who asked, which prior, what


class QueryRouter:
    """The priors of one index version, and a short memory of what they said. Safe to use from threads.

    What was said to one asker is not remembered for another, who would tell by the time it takes that
    somebody has asked the same. A prior reads a prompt in its asker's turn.

    Of a bare pack `resident` brings in the factors of those who are heard. `known` is what the priors know,
    where that is something else than all about this pack.
    """

    def __init__(
        self,
        model: RoutedModel,
        pack: Pack,
        encoder: Encoder | None = None,
        *,
        resident: ResidentPack | None = None,
        known: Known | None = None,
    ) -> None:
        self._known = known or Known(model, pack, encoder)
        self._resident = resident
        self._said: OrderedDict[_Key, PromptScores] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def known(self) -> Known:
        """What the priors know."""
        return self._known

    def scores(self, prior: str, prompt: Sequence[int], asker: Asker = ANYBODY) -> PromptScores:
        """What a prior says of a prompt; BadRouting if this version cannot tell, Left if the asker has."""
        key = (asker.name, prior, tuple(prompt))
        found = self._remembered(key)
        if found is not None:
            return found
        with asker.turn(self._known.cost(prior, prompt)):
            found = self._remembered(key)  # by another request of the same asker, which had its turn before
            if found is not None:
                return found
            return self._keep(key, PRIORS[prior](self._known, key[2], asker))

    def _remembered(self, key: _Key) -> PromptScores | None:
        with self._lock:
            if key in self._said:
                self._said.move_to_end(key)
            return self._said.get(key)

    def _keep(self, key: _Key, said: PromptScores) -> PromptScores:
        with self._lock:
            self._said[key] = said
            while len(self._said) > REMEMBERED:
                self._said.popitem(last=False)
        return said

    def unread_route(self, routing: Routing, asker: Asker = ANYBODY) -> Route:
        """The route before any prompt is read. Errors as `routing.routes.route`, and Left if the asker has.

        Through a bare pack it cannot be run. Where a prompt has a say it should not be: it tells no more than
        what is wrong and how wide it will be.
        """
        if self._resident is not None:
            return self._hearing(self._resident, asker).unheard(routing)
        if routing.asked_prior is None:
            return self._way(routing, Plan(routing), asker)
        if routing.subtracts:
            places_of(self._known.pack, routing.general)
        return route(self._known.pack, replace(routing, subtract=0.0))

    def route(self, routing: Routing, prompt: Sequence[int]) -> Route:
        """The route of this prompt's answer. Errors as `routes`."""
        return self.routes(routing, [prompt])[0]

    def routes(
        self, routing: Routing, prompts: Sequence[Sequence[int]], asker: Asker = ANYBODY
    ) -> list[Route]:
        """The routes of these prompts' answers. Errors as `routing.routes.route`, and Left if the asker has.

        Of an empty prompt nothing can decide: tokens are routed by themselves alone and, where only a prompt
        could choose experts, nobody is chosen. Through a bare pack all are ready at once; errors also as
        `ResidentPack.packs`.
        """
        plans = [self.plan(routing, prompt, asker) for prompt in prompts]
        if self._resident is None:
            return [self._way(routing, plan, asker) for plan in plans]
        return self._hearing(self._resident, asker).routes(routing, plans, prompts)

    def _hearing(self, resident: ResidentPack, asker: Asker) -> Hearing:
        """Not kept: each would keep the other."""
        return Hearing(self._known.model, resident, partial(self.scores, asker=asker), asker)

    def plan(self, routing: Routing, prompt: Sequence[int], asker: Asker = ANYBODY) -> Plan:
        """Who may speak in the answer to this prompt."""
        pack, prior = self._known.pack, routing.asked_prior
        if prior is None or not pack.experts:
            return Plan(routing)
        if not prompt and routing.router in QUERY_ROUTERS:
            return Plan(None)
        if not prompt:
            return Plan(replace(routing, shortlist=0, prior_weight=0.0, prior_abstain=False))
        said = self.scores(prior, prompt, asker)
        chosen = _chosen(pack, routing, said)
        return Plan(replace(routing, experts=chosen, shortlist=0) if chosen else None, said)

    def _way(self, asked: Routing, plan: Plan, asker: Asker) -> Route:
        """The route of a plan through a pack that has everybody's factors."""
        if plan.routing is None:
            return Route(self._known.pack, ROUTERS[asked.router], {}, plan.said)
        seen = prepared(self._known.model, self._known.pack, plan.routing, asker)
        return route(self._known.pack, plan.routing, plan.said, seen)


def _chosen(pack: Pack, routing: Routing, said: PromptScores) -> tuple[str, ...]:
    """The experts that may answer, best first; none: the plain base does."""
    may = torch.full_like(said.experts, -torch.inf)
    allowed = speakers(pack, routing)
    places = list(range(len(pack.experts)) if allowed is None else sorted(allowed))
    may[places] = said.experts[places]
    if routing.prior_abstain and float(may.max()) <= said.nobody():
        return ()
    order = may.argsort(descending=True, stable=True)
    eligible = [place for place in order.tolist() if float(may[place]) > -torch.inf]
    if routing.router in QUERY_ROUTERS:
        eligible = eligible[: routing.top_k]
    elif routing.shortlist:
        eligible = eligible[: routing.shortlist]
    return tuple(pack.experts[place] for place in eligible)
