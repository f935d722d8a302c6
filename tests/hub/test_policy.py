"""A routing policy is checked field by field, and means the same to the hub and to routing."""

from dataclasses import asdict
from typing import Any

import pytest

from hub.errors import Invalid
from hub.library.policy import (
    CALLED,
    DEFAULT,
    PRIORS,
    ROUTERS,
    Policy,
    check_policy,
    fields_in_words,
    in_words,
)
from routing.index import DEFAULT_POLICY, RoutingPolicy
from routing.priors import PRIORS as ALL_PRIORS
from routing.routers import ROUTERS as ALL_ROUTERS
from routing.routes import PRIOR_NAMES


def test_the_hub_and_routing_know_the_same_policies() -> None:
    assert Policy().model_dump() == asdict(RoutingPolicy())
    assert DEFAULT.model_dump() == asdict(DEFAULT_POLICY)
    assert set(ROUTERS) == set(ALL_ROUTERS) - {"single"}
    assert set(PRIORS) == set(PRIOR_NAMES) == set(ALL_PRIORS)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("router", "single", "router is 'single'; expected one of arrow"),
        ("top_k", True, "top_k is True; expected a whole number from 1 to 64"),
        ("top_k", 65, "top_k is 65"),
        ("temperature", 0, "temperature is 0; expected a number above 0"),
        ("temperature", float("nan"), "temperature is nan"),
        ("shortlist", -1, "shortlist is -1; expected 0 for all experts"),
        ("calibrated", 1, "calibrated is 1; expected true or false"),
        ("abstain", float("inf"), "abstain is inf; expected a number, or nothing"),
        ("prior", "horoscope", "prior is .horoscope.; expected one of evidence"),
        ("prior_weight", -1, "prior_weight is -1; expected 0 or a number above it"),
        ("prior_abstain", 1, "prior_abstain is 1; expected true or false"),
        ("general", ["mara"], "general is 'mara'; expected a list of adapters, as owner/name"),
        ("subtract", -1, "subtract is -1; expected 0 or a number above it"),
        ("mood", "good", "'mood' is not a part of a routing policy"),
    ],
)
def test_what_makes_no_sense_is_named(field: str, value: Any, says: str) -> None:
    with pytest.raises(Invalid, match=says.replace("'", ".")):
        check_policy({field: value})


def test_every_complaint_is_made_at_once() -> None:
    with pytest.raises(Invalid, match=r"router is .*; top_k is "):
        check_policy({"router": "oracle", "top_k": 0})


def test_people_read_a_policy_as_forms_call_its_fields() -> None:
    policy = DEFAULT.model_dump() | {"top_k": 2, "general": ["ada/general"], "calibrated": True}

    assert set(CALLED) == set(Policy.model_fields)
    assert fields_in_words(policy, ["top_k", "abstain", "calibrated"]) == (
        "experts per token: 2, the base below a score of: none, calibrated scores: yes"
    )
    assert in_words({"router": "arrow", "top_k": 1}) == "arrow, 1 expert per token"
    assert in_words(policy) == (
        "arrow, 2 experts per token, short list of 1, prompt judged by auto, calibrated scores, "
        "the base where the prompt is nobody\N{RIGHT SINGLE QUOTATION MARK}s, general knowledge ada/general"
    )
