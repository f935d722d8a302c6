"""What is compared: every method as a way of routing one of the libraries that the study makes.

`METHODS` is the list of all of them. Best single and oracle are not here: they are chosen among the single
experts once all have answered (see study.table).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from routing.composed import ComposedModel
from routing.index import DEFAULT_POLICY, RoutingPolicy
from routing.merge import MergePlan
from routing.routers import QUERY_ROUTERS
from routing.routes import Routing, routing_of
from study.answers import Voice
from study.library import POOLED, Library
from study.suite import Suite

BASE = "base"
MULTITASK = "multitask LoRA"
DEFAULT = "default"
ALONE = Routing("single", top_k=1, experts=(POOLED,))

# As each was published, without calibration where its authors have none; then the calibrated siblings.
ROUTINGS: dict[str, Routing] = {
    "arrow": Routing("arrow", top_k=3),
    "phatgoose": Routing("phatgoose", top_k=2),
    "spectral": Routing("spectral", top_k=4),
    "delta-norm": Routing("delta-norm", top_k=1),
    "arrow, calibrated": Routing("arrow", top_k=3, calibrated=True),
    "spectral, calibrated": Routing("spectral", top_k=3, calibrated=True),
    "delta-norm, calibrated": Routing("delta-norm", top_k=3, calibrated=True),
    "evidence": Routing("evidence", top_k=2),
    "two-stage": Routing("two-stage", top_k=1),
    "uniform": Routing("uniform", top_k=1),
    "short list of 1": Routing("arrow", top_k=1, shortlist=1),
    "short list of 3, arrow calibrated": Routing("arrow", top_k=3, shortlist=3, calibrated=True),
    "short list of 3, uniform": Routing("uniform", top_k=1, shortlist=3),
    "evidence, prior x token": Routing("evidence", top_k=2, prior_weight=3.0),
    **{name: Routing(name, top_k=1) for name in sorted(QUERY_ROUTERS)},
    "short list of 1 by retrieval": Routing("arrow", top_k=1, shortlist=1, prior="retrieval"),
}
MERGED = ("mean", "task-arithmetic", "magnitude", "ties", "dare-linear", "dare-ties")
ON_CLUSTERS = ("arrow", "evidence", "short list of 1", "uniform")


@dataclass(frozen=True)
class Method:
    """A method's name, and how it answers on one seed's library; None where that library cannot."""

    name: str
    voice: Callable[[Library], Voice | None]


def singles(library: Library) -> Iterator[tuple[str, Voice]]:
    """Every expert alone."""
    for name in library.suite.names:
        yield name, Voice(library.composed, Routing("single", top_k=1, experts=(name,)))


def policy_of_suite(suite: Suite) -> RoutingPolicy:
    """The policy that Fletch has by default, or what the suite says in its place."""
    return replace(DEFAULT_POLICY, **suite.policy)


def _routed(routing: Routing) -> Callable[[Library], Voice | None]:
    def voice(library: Library) -> Voice | None:
        gateless = routing.router == "phatgoose" and not library.gates
        unread = routing.router == "classifier" and library.composed.pack.classifier is None
        return None if gateless or unread else Voice(library.composed, routing)

    return voice


def _alone(model: Callable[[Library], ComposedModel | None]) -> Callable[[Library], Voice | None]:
    def voice(library: Library) -> Voice | None:
        found = model(library)
        return None if found is None else Voice(found, ALONE)

    return voice


def _merged(method: str) -> Callable[[Library], Voice | None]:
    """Equal shares; task arithmetic adds with the scale 0.3 that its authors found to do for many tasks."""

    def voice(library: Library) -> Voice:
        weights = dict.fromkeys(library.suite.names, 1.0) if method == "task-arithmetic" else None
        scale = 0.3 if method == "task-arithmetic" else 1.0
        return Voice(library.merged(MergePlan(method, weights, scale=scale, seed=library.seed)), ALONE)

    return voice


def _always(routing: Routing) -> Callable[[Library], Routing]:
    return lambda _: routing


def _on_clusters(routing: Callable[[Library], Routing]) -> Callable[[Library], Voice | None]:
    def voice(library: Library) -> Voice | None:
        return None if library.clusters is None else Voice(library.clusters, routing(library))

    return voice


METHODS: tuple[Method, ...] = (
    Method(BASE, lambda library: Voice(library.composed, None)),
    *(Method(name, _routed(routing)) for name, routing in ROUTINGS.items()),
    Method(DEFAULT, lambda library: Voice(library.composed, routing_of(policy_of_suite(library.suite)))),
    *(Method(f"merged: {method}", _merged(method)) for method in MERGED),
    Method(MULTITASK, _alone(lambda library: library.multitask)),
    *(Method(f"MBC, {name}", _on_clusters(_always(ROUTINGS[name]))) for name in ON_CLUSTERS),
    Method("MBC, default", _on_clusters(lambda library: routing_of(policy_of_suite(library.suite)))),
)
