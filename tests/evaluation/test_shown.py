"""Questions asked again: what stands on a page is what the model says when it is asked directly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from evaluation.chosen import Choice
from evaluation.model import ComposedLM
from evaluation.runs import Variant
from evaluation.shown import Said, ask_again
from routing.composed import ComposedModel, compose
from routing.index import RoutingPolicy
from routing.routes import Routing, routing_of
from tests.evaluation.asking import GREEDY, local_task
from tests.routing.libraries import SmallLibrary, llama_library, t5_library

ALONE = "ada/plain"
ROWS = [{"text": "The ferry leaves at", "target": "nine"}, {"text": "She counted 12", "target": "boats"}]


def texts_task(name: str, output: str, **said: Any) -> dict[str, Any]:
    return {
        "task": name,
        "custom_dataset": lambda **_: {"test": Dataset.from_list(ROWS)},
        "test_split": "test",
        "output_type": output,
        "doc_to_text": "{{text}}",
        "doc_to_target": "{{target}}",
        **said,
    }


@pytest.fixture(params=[llama_library, t5_library], ids=["llama", "t5"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> ComposedModel:
    library: SmallLibrary = request.param(tmp_path)
    return compose(library.base(), library.experts(), RoutingPolicy(top_k=2))


def asked(
    model: ComposedModel, tasks: list[dict[str, Any]], chosen: dict[str, list[Choice]]
) -> tuple[list[Variant], dict[str, Any]]:
    ways = [
        Variant("base", "base", None),
        Variant("policy", "policy", routing_of(model.policy)),
        Variant(ALONE, "expert", Routing("single", top_k=1, experts=(ALONE,))),
    ]
    loaded = TaskManager(include_defaults=False).load(tasks)
    return ways, ask_again(model, dict.fromkeys(chosen, ways), chosen, loaded, batch_size=2)


def each(
    model: ComposedModel, ways: list[Variant], answers: dict[str, Said], check: Callable[[Any, Said], None]
) -> None:
    assert list(answers) == [way.name for way in ways]
    for way in ways:
        check(ComposedLM(model, way.routing, batch_size=2), answers[way.name])
    assert answers["base"].speakers.shares == {}
    assert answers[ALONE].speakers.shares == {ALONE: 1.0}
    spoke = answers["policy"].speakers
    assert sum(spoke.shares.values()) == pytest.approx(1.0, abs=1e-3)
    assert all(len(row) == len(spoke.layers) > 0 for row in spoke.by_layer.values())


def test_of_choices_the_likeliest_is_shown(model: ComposedModel) -> None:
    chosen = {"m": [Choice("ferry", "2", differs=True), Choice("ferry", "0", differs=False)]}

    ways, found = asked(model, [local_task()], chosen)

    path, ferry = found["m"]
    assert (path.prompt, path.expected, path.metric) == ("The path by the mill is", "closed", "acc")
    assert (ferry.prompt, ferry.expected, ferry.choice.differs) == ("The ferry leaves at", "nine", False)

    def check(lm: ComposedLM, said: Said) -> None:
        pairs = [(path.prompt, f" {choice}") for choice in ("closed", "open")]
        requests = [Instance("loglikelihood", {}, pair, place) for place, pair in enumerate(pairs)]
        (closed, _), (opened, _) = lm.loglikelihood(requests)
        assert said.text == ("closed" if closed > opened else "open")
        assert (said.right, said.score) == (closed > opened, float(closed > opened))

    each(model, ways, path.answers, check)


def test_of_texts_what_was_written_is_shown_and_what_of_it_was_compared(model: ComposedModel) -> None:
    taken = [{"name": "first", "filter": [{"function": "lowercase"}, {"function": "take_first"}]}]
    metrics = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
    task = texts_task(
        "written", "generate_until", generation_kwargs=GREEDY, filter_list=taken, metric_list=metrics
    )

    ways, found = asked(model, [task], {"m": [Choice("written", "1", differs=True)]})

    [one] = found["m"]
    assert (one.prompt, one.expected) == ("She counted 12", "boats")

    def check(lm: ComposedLM, said: Said) -> None:
        [written] = lm.generate_until([Instance("generate_until", {}, (one.prompt, dict(GREEDY)), 0)])
        assert said.text == written
        assert said.taken == ("" if written == written.lower() else written.lower())
        assert said.right is False

    each(model, ways, one.answers, check)


def test_texts_that_ask_nothing_are_left_out(tmp_path: Path) -> None:
    library = llama_library(tmp_path)
    model = compose(library.base(), library.experts(), RoutingPolicy(top_k=1))
    metrics = [{"metric": "bits_per_byte", "aggregation": "bits_per_byte", "higher_is_better": False}]
    task = texts_task("rolling", "loglikelihood_rolling", metric_list=metrics)

    _, found = asked(model, [task, local_task()], {"m": [Choice("rolling", "0", differs=True)], "n": []})

    assert found == {"m": [], "n": []}
