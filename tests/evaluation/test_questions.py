"""Which questions are looked at one by one, what is read from the harness, and what of it is published."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evaluation import publishing
from evaluation.catalogue import find_suite
from evaluation.chosen import Choice, choose
from evaluation.publishing import NotToBeShown, document, require_may_be_shown, size
from evaluation.shown import NOBODY, Question, Said, _likeliest, _option, _parts
from evaluation.speakers import Speakers

BASE = {"a1": {str(place): 0.0 for place in range(20)}, "a2": {"0": 1.0}, "b": {"0": 0.0}}
OURS = {**BASE, "a1": {str(place): float(place in {3, 7, 11}) for place in range(20)}}
MEMBERS = {"a": ["a1", "a2"], "b": ["b"]}


def test_questions_are_chosen_in_turns_because_ways_differ_and_by_lot() -> None:
    chosen = choose([BASE, OURS], MEMBERS, 6)

    assert [one.differs for one in chosen["a"]] == [True, False] * 3
    assert {one.question for one in chosen["a"] if one.differs} == {"3", "7", "11"}
    assert chosen["b"] == [Choice("b", "0", differs=False)]


def test_fewer_are_a_beginning_of_more_and_the_same_every_time() -> None:
    many = choose([BASE, OURS], MEMBERS, 12)["a"]

    assert choose([BASE, OURS], MEMBERS, 5)["a"] == many[:5]
    assert len({(one.task, one.question) for one in many}) == 12


def sample(metric: str, *choices: tuple[str, str, float]) -> dict[str, Any]:
    return {
        "output": "multiple_choice",
        "metrics": [metric],
        "arguments": [(context, continuation) for context, continuation, _ in choices],
        "resps": [[(score, False)] for _, _, score in choices],
    }


def test_the_choice_that_was_taken_is_the_likeliest_by_its_metric() -> None:
    choices = (("Q?", " no", -2.0), ("Q?", " certainly not", -3.0))

    assert _likeliest(sample("acc", *choices)) == 0
    assert _likeliest(sample("acc_norm", *choices)) == 1
    assert _parts(sample("acc", *choices)) == ("Q?", [" no", " certainly not"])


def test_choices_that_are_contexts_are_told_apart_behind_what_they_share() -> None:
    found = sample("acc", ("The cup and Ann", " fell.", -1.0), ("The cup and Bob", " fell.", -2.0))

    assert _parts(found) == ("The cup and ", ["Ann fell.", "Bob fell."])
    assert _option(found, " fell.", "The cup and Bob") == "Bob fell."


def question(prompt: str, layers: tuple[int, ...] = (0, 2)) -> Question:
    spoke = Speakers({"a/b": 0.7}, layers, {"a/b": [0.5] * len(layers)})
    answers = {"base": Said(0.0, False, "no\0", "", NOBODY), "arrow": Said(0.5, None, "y" * 2000, "y", spoke)}
    return Question(Choice("group::task", "4", differs=True), prompt, "yes", "acc", answers)


def test_a_document_has_bounded_texts_and_every_answer_on_the_same_layers() -> None:
    suite = find_suite("demo")

    found = document({"m": [question("p" * 9000), question("q", (1,))]}, suite)

    first, second = found["members"]["m"]
    assert (found["terms"], found["layers"]) == (suite.may_be_shown, [0, 1, 2])
    assert (len(first["prompt"]), first["cut"], second["cut"], first["task"]) == (8000, True, False, "task")
    assert first["answers"][0]["text"] == "no\N{REPLACEMENT CHARACTER}"
    assert len(first["answers"][1]["text"]) == 1000
    assert first["answers"][1]["by_layer"] == {"a/b": [0.5, 0.0, 0.5]}
    assert second["answers"][1]["by_layer"] == {"a/b": [0.0, 0.5, 0.0]}


def test_what_is_too_large_loses_its_layers_first_and_then_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"m": [question("p" * 100), question("q" * 100)], "n": [question("r" * 100)]}
    whole = size(document(asked, find_suite("demo")))

    monkeypatch.setattr(publishing, "MOST_BYTES", whole - 1)
    without_layers = document(asked, find_suite("demo"))
    monkeypatch.setattr(publishing, "MOST_BYTES", size(without_layers) - 1)
    fewer = document(asked, find_suite("demo"))

    assert (without_layers["layers"], len(without_layers["members"]["m"])) == ([], 2)
    assert {name: len(some) for name, some in fewer["members"].items()} == {"m": 1, "n": 1}


def test_questions_are_published_only_where_the_suite_says_that_they_may() -> None:
    demo = find_suite("demo")
    require_may_be_shown(demo, 50)

    with pytest.raises(NotToBeShown, match="found no `may_be_shown` in its metadata"):
        require_may_be_shown(replace(demo, may_be_shown=""), 5)
    with pytest.raises(NotToBeShown, match=r"bbh\.yaml: found no"):
        require_may_be_shown(find_suite("bbh"), 5)
    with pytest.raises(NotToBeShown, match="found 51, expected 1 to 50"):
        require_may_be_shown(demo, 51)
