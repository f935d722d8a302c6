"""Routes: how one request wants to be routed through a pack, worked out once before its first token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from routing.errors import BadRouting
from routing.few_tokens import ARROW, AtOnce, at_once, chosen_at_once
from routing.fixed import Fixed, fixed
from routing.general import Differences, SharedTerm, bare_differences, differences, low_rank, shared_terms
from routing.index import RoutingPolicy
from routing.pack import ModulePack, Pack, places_of
from routing.remembering import Turn
from routing.routers import (
    ALWAYS_CALIBRATED,
    ALWAYS_FINITE,
    FROM_WEIGHTS,
    QUERY_ROUTERS,
    READ_FACTORS,
    ROUTERS,
    SCORED_BY,
    Router,
    Selection,
    Terms,
    settled,
    width,
)

PRIOR_NAMES = ("auto", "classifier", "evidence", "lm", "retrieval")
ON_NEUTRAL_TEXT = frozenset({"auto", "evidence", "retrieval"})  # priors that are measured there


@dataclass(frozen=True)
class Routing:
    """How one request wants to be routed: a router by name, and the only experts it may use (None: all).

    `prior` says by what the whole prompt is judged (see `routing.priors`). With `shortlist` it narrows the
    experts to so many, with `prior_weight` its logarithm times so much is added to every token's scores, with
    `prior_abstain` a prompt that is nobody's is left to the plain base. `calibrated` and `abstain` are
    explained at `routing.routers.Terms`. Experts named `general` speak only where `experts` names them too;
    `subtract` times their mean update is subtracted from every expert (see `routing.general`).
    """

    router: str
    top_k: int
    temperature: float = 1.0
    experts: tuple[str, ...] | None = None
    shortlist: int = 0
    calibrated: bool = False
    abstain: float | None = None
    prior: str = "evidence"
    prior_weight: float = 0.0
    prior_abstain: bool = False
    general: tuple[str, ...] = ()
    subtract: float = 0.0

    @property
    def subtracts(self) -> bool:
        """Whether general knowledge is subtracted."""
        return bool(self.general) and self.subtract > 0.0

    @property
    def by_differences(self) -> bool:
        """Whether the router recognises experts by what is left of them after that."""
        return self.subtracts and self.router in FROM_WEIGHTS and not self._unopposed

    @property
    def _unopposed(self) -> bool:
        """Whether one expert alone may speak, and has every token whatever it scores."""
        alone = self.experts is not None and len(set(self.experts)) == 1
        scored = self.calibrated or self.abstain is not None
        return alone and not scored and SCORED_BY.get(self.router) in ALWAYS_FINITE

    @property
    def asked_prior(self) -> str | None:
        """The prior that has to read the prompt before its route is known, if one has."""
        if self.router in QUERY_ROUTERS:
            return self.router
        return self.prior if self.shortlist or self.prior_weight or self.prior_abstain else None

    def __post_init__(self) -> None:
        if self.router not in ROUTERS:
            raise BadRouting("router", self.router, f"one of {', '.join(sorted(ROUTERS))}")
        if self.top_k < 1:
            raise BadRouting("top_k", str(self.top_k), "at least 1")
        if not 0.0 < self.temperature < float("inf"):
            raise BadRouting("temperature", str(self.temperature), "a number above 0")
        if self.shortlist < 0:
            raise BadRouting("shortlist", str(self.shortlist), "0 or more")
        if self.abstain is not None and not math.isfinite(self.abstain):
            raise BadRouting("abstain", str(self.abstain), "a number, or nothing")
        if self.prior not in PRIOR_NAMES:
            raise BadRouting("prior", self.prior, f"one of {', '.join(PRIOR_NAMES)}")
        if not 0.0 <= self.prior_weight < float("inf"):
            raise BadRouting("prior_weight", str(self.prior_weight), "0 or a number above it")
        if not 0.0 <= self.subtract < float("inf"):
            raise BadRouting("subtract", str(self.subtract), "0 or a number above it")
        if self.router == "single" and (self.experts is None or len(self.experts) != 1):
            raise BadRouting("experts", str(self.experts), "exactly one expert for the router 'single'")


# With what its prompt has said of each expert, as far as that has a part in what every token chooses.
Rule = tuple[Routing, tuple[float, ...]]


@dataclass(frozen=True)
class PromptScores:
    """What a prior says of one prompt, in natural logits; minus infinity for who must not speak.

    `nobody` tells the score that the best expert must be above for any to be better than the plain base.
    """

    prior: str
    experts: Float[Tensor, " experts"]
    nobody: Callable[[], float]


@dataclass(frozen=True)
class Narrowed:
    """That a request's experts did not fit into memory: `kept` of so many were chosen, by what prior."""

    experts: int
    kept: int
    prior: str


@dataclass(frozen=True)
class Seat:
    """One module's experts together with one request's terms there.

    With general knowledge subtracted, `judged` are the experts as the router sees them, in the same rows, and
    `shared` is what is added for all of them.
    """

    module: ModulePack
    terms: Terms
    judged: ModulePack | None = None
    shared: SharedTerm | None = None

    @cached_property
    def at_once(self) -> AtOnce | None:
        """What chooses experts of a few tokens by Arrow and mixes them; None: not by these terms, or here."""
        return at_once(self.module, self.terms) if self.plain else None

    @cached_property
    def plain(self) -> bool:
        """Whether all experts of the module stand for election by their scores alone, and are of low rank."""
        terms = self.terms
        asked = (terms.allowed, terms.prior, terms.abstain, self.judged)
        return self.alike and not terms.calibrated and all(one is None for one in asked)

    @property
    def alike(self) -> bool:
        """Whether all that is added here are low-rank updates, each by its own weight."""
        return self.shared is None and self.module.scaled is None

    def select(self, router: Router, hidden: Float[Tensor, "tokens d_in"]) -> Selection:
        """Whom the router sends each token to."""
        return router(hidden, self.module if self.judged is None else self.judged, self.terms)


class Ahead(NamedTuple):
    """A token's choice at all modules side by side: how many experts at each, their places and weights."""

    widths: tuple[tuple[str, int], ...]
    experts: Int[Tensor, "1 pairs"]
    weights: Float[Tensor, "1 pairs"]


@dataclass(frozen=True)
class Route:
    """A request's way through a pack. Modules without an allowed expert have no seat: they are plain base.

    `said` is what a prior made of the prompt, where one was asked. Routes through one pack with an equal
    `rule` send every token the same way; None: that is not known of any other.
    Through a bare pack the seats are those of a short list, whose factors `stay` keeps in memory.
    """

    pack: Pack
    router: Router
    seats: Mapping[str, Seat]
    said: PromptScores | None = None
    rule: Rule | None = None
    narrowed: Narrowed | None = None
    stay: object | None = None

    @property
    def can_run(self) -> bool:
        """Whether what its tokens may choose is in memory: a bare pack's seats alone are not."""
        return not self.seats or self.stay is not None or not self.pack.bare

    @cached_property
    def at_once(self) -> Mapping[str, AtOnce]:
        """Where that can be, by module: what chooses experts of a few tokens and mixes them in one call."""
        found = {name: self._at_once(name, seat) for name, seat in self.seats.items()}
        return {name: add for name, add in found.items() if add is not None}

    def _at_once(self, name: str, seat: Seat) -> AtOnce | None:
        if (fixed := self.settled.get(name)) is not None:
            return chosen_at_once(seat.module, fixed) if seat.alike else None
        return seat.at_once if self.router is ARROW else None

    @cached_property
    @torch.inference_mode(mode=False)
    def settled(self) -> Mapping[str, Selection]:
        """Where it is said before any token is seen, by module: what each chooses [1, k]."""
        found = {
            name: settled(self.router, seat.module if seat.judged is None else seat.judged, seat.terms)
            for name, seat in self.seats.items()
        }
        return {name: selection for name, selection in found.items() if selection is not None}

    @cached_property
    @torch.inference_mode(mode=False)
    def ahead(self) -> Ahead | None:
        """What every token will have chosen behind the last module; None: that depends on the token."""
        if not self.seats or len(self.settled) < len(self.seats) or self.pack.scattered:
            return None
        places = [self.seats[name].module.member_ids[said.experts] for name, said in self.settled.items()]
        return Ahead(
            tuple((name, said.experts.shape[1]) for name, said in self.settled.items()),
            torch.cat(places, dim=1),
            torch.cat([said.weights for said in self.settled.values()], dim=1),
        )

    @cached_property
    @torch.inference_mode(mode=False)
    def fixed(self) -> Fixed | None:
        """Whom every token chooses everywhere; None: that depends on it, or more is added than low ranks."""
        alike = all(seat.alike for seat in self.seats.values())
        return fixed(self.pack, self.settled) if alike and len(self.settled) == len(self.seats) else None

    def agrees(self, other: Route) -> bool:
        """Whether both would send every token the same way."""
        return self is other or (
            self.pack is other.pack and self.rule is not None and self.rule == other.rule
        )

    @property
    def entries(self) -> int:
        """From how many experts one token is mixed in all modules together."""
        return sum(width(self.router, seat.module, seat.terms) for seat in self.seats.values())


def route(
    pack: Pack, routing: Routing, said: PromptScores | None = None, seen: Differences | None = None
) -> Route:
    """Work out once per request who may speak where; `said` is what a prior made of its prompt.

    `seen` are the differences that the router looks at, where they were measured on neutral text.
    UnknownExpert for a name that is not in the pack; BadRouting for what the pack cannot do.
    """
    if routing.asked_prior == "classifier" and pack.classifier is None:
        field = "router" if routing.router == "classifier" else "prior"
        raise BadRouting(field, "classifier", "an index version that has one")
    if needs_moments(routing) and pack.modules and pack.neutral is None:
        raise BadRouting("router", f"{routing.router}, calibrated", "an index version with neutral text")
    allowed = speakers(pack, routing)
    shared = shared_terms(pack, routing.general, routing.subtract) if routing.subtracts else {}
    less = _seen(pack, routing, seen).modules if routing.by_differences else {}
    usual = _usual_terms(pack, routing, allowed, said)
    seats = {}
    for name, module in pack.modules.items():
        rows = None if allowed is None else _rows_of(module, allowed)
        if rows is None or len(rows):
            terms = _terms_at(module, usual, rows)
            seats[name] = Seat(module, terms, less.get(name), shared.get(name))
    counts = usual.prior if usual.shares is None else usual.shares
    rule = routing, () if counts is None else tuple(counts.tolist())
    return Route(pack, ROUTERS[routing.router], seats, said, rule)


def speakers(pack: Pack, routing: Routing) -> frozenset[int] | None:
    """The places of the experts that may speak: those that are named, or all but the general ones.

    None: all; UnknownExpert for a name that is not in the pack.
    """
    if routing.experts is not None:
        return places_of(pack, routing.experts)
    if not routing.general:
        return None
    return frozenset(range(len(pack.experts))) - places_of(pack, routing.general)


def routing_of(policy: RoutingPolicy, **said: Any) -> Routing:
    """A library's own routing, in which every expert may speak, with what is `said` in its place.

    What belongs to the policy's router is left behind with it, who is named is not narrowed, and one expert
    alone is all that it is.
    """
    usual = asdict(policy)
    if said.get("router", policy.router) != policy.router:
        usual |= {"calibrated": False, "abstain": None, "prior_weight": 0.0}
    if "router" in said or said.get("experts") is not None:
        usual |= {"shortlist": 0, "prior_abstain": False}
    if said.get("router") == "single":
        usual["subtract"] = 0.0
    return Routing(**(usual | said))


def within_reach(policy: RoutingPolicy, pack: Pack) -> RoutingPolicy:
    """The policy as far as this index version can follow it.

    No prior is asked that cannot tell, and who is not in it, or works through the base's weight, has no
    general knowledge to subtract.
    """
    there = [name for name in policy.general if name in pack.places and low_rank(pack, name)]
    policy = replace(policy, general=tuple(there))
    if pack.classifier is None:
        policy = replace(
            policy,
            router="retrieval" if policy.router == "classifier" else policy.router,
            prior="retrieval" if policy.prior == "classifier" else policy.prior,
        )
    if pack.neutral is None and pack.modules:
        policy = replace(policy, router="arrow" if policy.router == "retrieval" else policy.router)
        if policy.prior in ON_NEUTRAL_TEXT:
            policy = replace(policy, shortlist=0, prior_weight=0.0, prior_abstain=False)
    return policy


def needs_moments(routing: Routing) -> bool:
    """Whether scores must be measured in deviations from their mean on neutral text."""
    return scores_calibrated(routing) or routing.asked_prior in ON_NEUTRAL_TEXT


def scores_calibrated(routing: Routing) -> bool:
    """Whether the router itself looks at calibrated scores of every token."""
    return routing.calibrated or routing.router in ALWAYS_CALIBRATED


def judged(pack: Pack, routing: Routing, turn: Turn = nullcontext) -> Differences:
    """The pack's experts as this routing looks at them, not measured; worked out in a turn."""
    less = differences if routing.router in READ_FACTORS else bare_differences
    return less(pack, routing.general, routing.subtract, turn)


def _seen(pack: Pack, routing: Routing, seen: Differences | None) -> Differences:
    found = judged(pack, routing) if seen is None else seen
    if scores_calibrated(routing) and found.neutral != pack.neutral:
        expected = "differences calibrated by routing.subtracting.prepared"
        raise BadRouting("subtract", str(routing.subtract), expected)
    return found


def _usual_terms(
    pack: Pack, routing: Routing, allowed: frozenset[int] | None, said: PromptScores | None
) -> Terms:
    """The terms of a request before any module is looked at: what is by expert is so for the whole pack."""
    electorate = len(pack.experts) if allowed is None else len(allowed)
    terms = Terms(
        routing.top_k,
        routing.temperature,
        electorate,
        calibrated=routing.calibrated,
        abstain=routing.abstain,
    )
    if said is None:
        return terms
    scores = torch.full_like(said.experts, -torch.inf)
    places = list(range(len(pack.experts)) if allowed is None else sorted(allowed))
    scores[places] = said.experts[places]
    if routing.router in QUERY_ROUTERS:
        return replace(terms, shares=(scores / routing.temperature).softmax(-1).float())
    if not routing.prior_weight:
        return terms
    return replace(terms, prior=routing.prior_weight * scores.log_softmax(-1))


def _terms_at(module: ModulePack, usual: Terms, rows: Int[Tensor, " rows"] | None) -> Terms:
    """The terms at one module, whose rows stand for the experts that are present there."""
    return replace(
        usual,
        allowed=rows,
        prior=None if usual.prior is None else _at(module, usual.prior),
        shares=None if usual.shares is None else _at(module, usual.shares),
    )


def _at(module: ModulePack, by_expert: Float[Tensor, " experts"]) -> Float[Tensor, " members"]:
    return by_expert.to(module.device)[module.member_ids]


def _rows_of(module: ModulePack, places: frozenset[int]) -> Int[Tensor, " rows"]:
    known = module.rows_by_member
    rows = sorted(known[place] for place in places if place in known)
    return torch.tensor(rows, dtype=torch.int64, device=module.device)
