"""The options of a merge are checked together, spelled in one way, and mean the same to the hub and to routing."""

import dataclasses
from typing import Any

import pytest

from hub.indexes.merging import FIELDS, METHODS, WITH_DENSITY, Merging, check_merging
from hub.indexes.parts import Part
from hub.pages.checkpoint_form import MERGES as SHOWN
from hub.pages.checkpoint_form import CheckpointForm
from routing.errors import BadMerge
from routing.merge import DENSITIES, MERGES, MergePlan, merge_experts

TWO = ("ada/one", "bob/two")


def test_the_hub_and_routing_know_the_same_merges() -> None:
    assert set(METHODS) == set(MERGES) == set(SHOWN) - {""} | {"mean"}
    assert set(WITH_DENSITY) == set(DENSITIES)
    assert Merging().model_dump() == dataclasses.asdict(MergePlan())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"method": "average"}, "method is 'average'; expected one of mean"),
        ({"method": "ties", "density": 0}, "density is 0; expected a number above 0, at most 1"),
        ({"method": "ties", "density": 0.5, "weights": {"ada/one": "much"}}, "weights is 'much'"),
        ({"method": "weighted"}, "weights are missing"),
        ({"weights": {"ada/one": 1, "bob/two": 1}}, "weights belong to the other methods"),
        (
            {"method": "ties", "weights": {"ada/one": 1}},
            "weights name other experts than are merged (bob/two)",
        ),
        (
            {"method": "weighted", "weights": {"ada/one": -1, "bob/two": 2}},
            "weights of a weighted mean are 0 or above",
        ),
        ({"method": "task-arithmetic", "density": 0.5}, "density belongs to magnitude, ties"),
        ({"method": "dare-ties", "seed": -1}, "seed is -1"),
    ],
)
def test_what_makes_no_sense_is_named_and_routing_refuses_it_too(options: dict[str, Any], says: str) -> None:
    _, complaints = check_merging(options, TWO)

    assert says in "; ".join(complaints)
    if "seed" not in options and options.get("weights", {}).get("ada/one") != "much":
        with pytest.raises(BadMerge):
            merge_experts({name: {} for name in TWO}, MergePlan(**options))


@pytest.mark.parametrize(
    ("options", "spelled"),
    [
        ({"method": "mean", "seed": 4, "scale": 1}, {}),
        ({"method": "ties", "seed": 4, "density": 0.3}, {"method": "ties", "density": 0.3}),
        ({"method": "dare-ties", "seed": 4}, {"method": "dare-ties", "seed": 4}),
    ],
)
def test_equal_wishes_have_one_spelling(options: dict[str, Any], spelled: dict[str, Any]) -> None:
    assert check_merging(options, TWO) == (spelled, [])


def test_the_form_reads_weights_line_by_line() -> None:
    parts = [Part(n, name, "mit", False, 9) for n, name in enumerate(TWO)]
    typed = {
        "version": 1,
        "kind": "adapter",
        "rank": 8,
        "method": "task-arithmetic",
        "weights": "ada/one = 1\nbob/two=-0.5\n",
    }
    good = CheckpointForm(typed, versions=[1], parts=parts)
    bad = CheckpointForm({**typed, "weights": "ada/one: 1"}, versions=[1], parts=parts)

    assert good.is_valid(), good.errors
    assert good.options() == {
        "rank": 8,
        "method": "task-arithmetic",
        "weights": {"ada/one": 1.0, "bob/two": -0.5},
    }
    assert not bad.is_valid()
    assert set(FIELDS) <= set(good.fields)
