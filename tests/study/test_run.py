"""A whole study on a tiny suite: what it asks is what a model would answer, and what it leaves can be read."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from routing.base import load_base
from routing.neutral import neutral_tokens
from routing.routes import Routing
from routing.spec import BaseRef
from study.answers import Voice, outcomes, questions
from study.library import Library
from study.methods import METHODS
from study.report import save, show, write_page
from study.run import run
from study.suite import Suite, read_suite
from study.table import BEST_SINGLE, ORACLE, lines
from tests.study.worlds import tiny_suite

FEW = {
    "base",
    "phatgoose",
    "uniform",
    "default",
    "classifier",
    "retrieval",
    "lm",
    "merged: mean",
    "multitask LoRA",
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    return read_suite(tiny_suite(tmp_path_factory.mktemp("suite")))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def library(suite: Suite, cache: Path) -> Library:
    base = load_base(BaseRef(str(suite.base)))
    return Library(suite, base, 1, cache, neutral_tokens(base, sequences=4, length=8), lambda _: None)


def test_an_answer_counts_as_exact_if_and_only_if_the_model_would_have_given_it(library: Library) -> None:
    asked = [
        one for task in library.suite.tasks for one in questions(library.suite, task, 1, library.composed)
    ]
    for routing in (
        Routing("single", top_k=1, experts=("ada/boats",)),
        Routing("arrow", top_k=2),
        Routing("arrow", top_k=1, shortlist=1),
    ):
        found = outcomes(Voice(library.composed, routing), asked)
        for question, outcome in zip(asked, found, strict=True):
            wanted = library.base.tokenizer.decode(question.completion)
            said = library.composed.generate(
                question.prompt, max_tokens=len(question.completion), routing=routing
            )
            assert outcome.exact == float(said.text == wanted)


def test_a_study_leaves_tables_pictures_and_a_page_and_trains_nothing_twice(
    suite: Suite, cache: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    few = [one for one in METHODS if one.name in FEW]
    found = run(suite, cache=cache, say=said.append, methods=few)
    trained = sorted(cache.rglob("*"))

    exact = {line.method: line.exact for line in lines(found.answers, suite.tasks, "held-in")}
    assert exact[ORACLE] > exact["base"]
    assert set(found.answers) == FEW | {ORACLE, BEST_SINGLE}
    show(Console(quiet=True), suite, "held-in", lines(found.answers, suite.tasks, "held-in"))
    document = json.loads(save(suite, found, folder=tmp_path / "results").read_text())
    assert {line["method"] for line in document["tables"]["held-out"]} == set(found.answers)
    pictures = {path.name for path in (tmp_path / "results").glob("*.svg")}
    assert pictures == {"tiny-held-in.svg", "tiny-held-out.svg", "tiny-speakers.svg", "tiny-entropy.svg"}
    for path in (tmp_path / "results").glob("*.svg"):
        assert ET.parse(path).getroot().tag.endswith("svg")
    write_page(tmp_path / "results", tmp_path / "study.md")
    page = (tmp_path / "study.md").read_text()
    assert f"| oracle | {exact[ORACLE]:.1%} |" in page
    assert f"*default* reaches {exact['default'] / exact[ORACLE]:.0%} of the oracle" in page
    assert "*default* minus multitask LoRA" in page

    again = run(suite, cache=cache, say=said.append, methods=few)

    assert again.answers == found.answers
    assert sorted(cache.rglob("*")) == trained
