"""One suite, asked of the base, of the composed model by several routers, and of each expert alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lm_eval import evaluate
from lm_eval.api.model import LM, CachingLM

from evaluation.model import ComposedLM
from routing.composed import ComposedModel
from routing.digests import canonical_json, digest_of
from routing.errors import BadRouting
from routing.routers import ROUTERS
from routing.routes import Routing, route, routing_of

BASE = "base"
OWN = "library's policy"
FEWSHOT_SEED = 1234  # lm_eval's own, of the examples that stand before a question
Kind = Literal["base", "policy", "router", "expert"]
Outcomes = Mapping[str, Mapping[str, float]]  # by task, then by question


@dataclass(frozen=True)
class Variant:
    """One way to answer: a name for the table, what it is, and a routing (None: the plain base)."""

    name: str
    kind: Kind
    routing: Routing | None


@dataclass(frozen=True)
class Answers:
    """How a variant did with each question of each task, and by which metric of the task."""

    outcomes: Outcomes
    metrics: Mapping[str, str]


def variants(
    model: ComposedModel, routers: Sequence[str] | None, said: Mapping[str, Any], *, singles: bool
) -> list[Variant]:
    """The base, the library's own way, these routers (None: all that this library can use), each expert.

    `said` holds for all of the library's ways.
    """
    own = routing_of(model.policy, **said)
    named = [name for name in ROUTERS if name != "single"] if routers is None else list(routers)
    ways = [Variant(BASE, "base", None), Variant(OWN, "policy", own)]
    for name in named:
        routing = routing_of(model.policy, **{**said, "router": name})
        if routers is not None or _possible(model, routing):
            ways.append(Variant(name, "router", routing))
    if singles:
        ways += [Variant(one, "expert", Routing("single", top_k=1, experts=(one,))) for one in model.experts]
    return ways


def metrics(results: Mapping[str, Any]) -> dict[str, str]:
    """By task the metric that `outcomes` reads."""
    return {task: str(samples[0]["metrics"][0]) for task, samples in results["samples"].items() if samples}


def outcomes(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """By task and question the task's first metric, as lm_eval logged it."""
    found: dict[str, dict[str, float]] = {}
    for task, samples in results["samples"].items():
        first = samples[0]["filter"] if samples else None
        found[task] = {
            str(sample["doc_id"]): float(sample[sample["metrics"][0]])
            for sample in samples
            if sample["filter"] == first
        }
    return found


def run(
    model: ComposedModel,
    ways: Sequence[Variant],
    tasks: Mapping[str, Any],
    *,
    cache: Path | None = None,
    limit: int | None = None,
    runs_code: bool = False,
    **options: Any,
) -> Iterator[tuple[Variant, Answers]]:
    """Ask the tasks of each variant in turn, with the same examples before each question; what `cache` holds
    of an equal variant is not asked again.
    """
    for way in ways:
        draw_anew(tasks["tasks"])
        lm = cached(ComposedLM(model, way.routing, **options), model, way, cache)
        results = evaluate(
            lm=lm, task_dict=tasks, limit=limit, bootstrap_iters=0, confirm_run_unsafe_code=runs_code
        )
        yield way, Answers(outcomes(results), metrics(results))


def draw_anew(tasks: Mapping[str, Any]) -> None:
    """Let these tasks draw their examples from the beginning: each goes on where the last pass left it."""
    for task in tasks.values():
        task.set_fewshot_seed(FEWSHOT_SEED)


def cached(lm: ComposedLM, model: ComposedModel, way: Variant, cache: Path | None) -> LM:
    """It with a memory of what it answered, where there is a folder for that."""
    return lm if cache is None else CachingLM(lm, str(cache / f"{_key(model, way)}.db"))


def _possible(model: ComposedModel, routing: Routing) -> bool:
    """Whether this library has what the router needs; nobody asked for it by name."""
    if routing.router == "phatgoose" and not any(module.any_gate for module in model.pack.modules.values()):
        return False
    try:
        route(model.pack, routing)
    except BadRouting:
        return False
    return True


def _key(model: ComposedModel, way: Variant) -> str:
    """A name for everything that an answer depends on besides the question."""
    routing = None if way.routing is None else asdict(way.routing)
    spec, pack = model.routed.base.spec, model.pack
    dtype = str(model.routed.base.dtype)
    return digest_of(
        canonical_json([spec.digest, dtype, list(pack.experts), list(pack.keys), pack.neutral, routing])
    )
