"""Bodies with very many mistakes or parts are left early: each would be written down while everybody waits."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from workers.serving import bodies
from workers.serving.bodies import MOST_MESSAGES, MOST_PROMPTS, ChatBody, CompletionBody, EmbeddingBody
from workers.serving.errors import from_validation
from workers.serving.parts import SAID_STRANGERS, Part

COMPLETION: dict[str, Any] = {"model": "tales", "prompt": "The mill"}
MESSAGE: dict[str, Any] = {"role": "user", "content": "Why?"}
CHAT: dict[str, Any] = {"model": "tales", "messages": [MESSAGE]}
STRANGERS = {f"field{place}": place for place in range(500)}
TOOL = {"type": "function", "function": {"name": "f", **STRANGERS}}


def refused(kind: type[BaseModel], body: dict[str, Any]) -> ValidationError:
    with pytest.raises(ValidationError) as found:
        kind.model_validate_json(json.dumps(body))
    return found.value


def test_every_part_of_a_body_is_one() -> None:
    models = [one for _, one in inspect.getmembers(bodies, inspect.isclass) if issubclass(one, BaseModel)]

    assert len(models) > 20
    assert all(issubclass(one, Part) for one in models)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (CompletionBody, COMPLETION | STRANGERS),
        (CompletionBody, COMPLETION | {"routing": STRANGERS}),
        (CompletionBody, COMPLETION | {"response_format": {"type": "text", **STRANGERS}}),
        (CompletionBody, COMPLETION | {"structured_outputs": {"json": {}, **STRANGERS}}),
        (ChatBody, CHAT | {"messages": [MESSAGE | STRANGERS] * 3}),
        (ChatBody, CHAT | {"tools": [TOOL]}),
    ],
)
def test_of_many_unknown_fields_the_first_are_told(kind: type[BaseModel], body: dict[str, Any]) -> None:
    error = refused(kind, body)

    assert error.error_count() == SAID_STRANGERS
    told = from_validation(error)
    assert told.code == "unknown_parameter"
    assert told.param is not None
    assert told.param.endswith("field0")
    assert f"field{SAID_STRANGERS - 1}: Extra inputs" in told.message


def test_known_fields_beside_many_others_are_read() -> None:
    error = refused(CompletionBody, COMPLETION | STRANGERS | {"n": 0})

    assert ("n",) in [problem["loc"] for problem in error.errors()]
    assert ("prompt",) not in [problem["loc"] for problem in error.errors()]


def test_a_schema_may_have_as_many_fields_as_it_likes() -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in STRANGERS}}

    body = CompletionBody.model_validate_json(
        json.dumps(COMPLETION | {"structured_outputs": {"json": schema}})
    )

    assert body.structured_outputs is not None
    assert body.structured_outputs.json_ == schema


@pytest.mark.parametrize(
    ("kind", "body", "field", "said"),
    [
        (CompletionBody, {"metadata": {str(place): place for place in range(17)}}, "metadata", "17 pairs"),
        (
            CompletionBody,
            {"logit_bias": {str(place): "x" for place in range(1025)}},
            "logit_bias",
            "1025 pairs",
        ),
        (CompletionBody, {"prompt": [[1]] * (MOST_PROMPTS + 1)}, "prompt", f"{MOST_PROMPTS} items"),
        (EmbeddingBody, {"input": [[1]] * (MOST_PROMPTS + 1)}, "input", f"{MOST_PROMPTS} items"),
        (ChatBody, {"messages": [MESSAGE] * (MOST_MESSAGES + 1)}, "messages", f"{MOST_MESSAGES} items"),
    ],
)
def test_what_is_too_long_is_one_mistake(
    kind: type[BaseModel], body: dict[str, Any], field: str, said: str
) -> None:
    """Of a union each member says what it expected instead."""
    others = {ChatBody: {"model": "tales"}, EmbeddingBody: {"model": "tales"}}.get(kind, COMPLETION)

    error = refused(kind, others | body)

    told = from_validation(error)
    assert error.error_count() <= 4
    assert told.param == field
    assert said in told.message


def test_metadata_of_sixteen_pairs_is_taken() -> None:
    pairs = {str(place): "x" for place in range(16)}

    body = CompletionBody.model_validate_json(
        json.dumps(COMPLETION | {"metadata": pairs, "logit_bias": None})
    )

    assert body.metadata == pairs
