"""An answer whose form was prescribed has that form, whatever the model would rather say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.routing.libraries import TEXT
from tests.serving.live import LiveServer

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["ä", 'say "so"', None]}, "maxItems": 2},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMAS: list[dict[str, Any]] = [
    PERSON,
    {"enum": ["yes", "no", 7, None, {"a": [1]}]},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
    {"anyOf": [{"const": "left"}, {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]}]},
    {"type": "string", "pattern": "^[a-c]{2}-[0-9]+$", "maxLength": 8},
    {"type": "string", "format": "date"},
    {"type": "number", "minimum": -1, "exclusiveMaximum": 1},
    {
        "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}},
        "$ref": "#/$defs/tree",
    },
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"type": "strin"}, "strin"),
    ({"type": "object", "properties": 5}, "properties"),
    ({"type": "array", "uniqueItems": True}, "uniqueItems"),
    ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum"),
    ({"$ref": "http://127.0.0.1/schema"}, "does not fetch"),
    ({"type": "string", "pattern": "(?=a)b"}, "look-around"),
    ({"not": {"type": "string"}, "x-guidance": {"lenient": True}}, "not"),
]


def asked(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


@pytest.fixture
def client(live: LiveServer) -> Any:
    return live.client()


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schema=st.sampled_from(SCHEMAS), seed=st.integers(0, 1000), heat=st.sampled_from([0.0, 1.0, 2.0]))
def test_an_answer_that_ends_by_itself_is_valid_under_its_schema(
    client: Any, schema: dict[str, Any], seed: int, heat: float
) -> None:
    answer = client.completions.create(
        model="tales",
        prompt="The mill",
        max_tokens=60,
        temperature=heat,
        seed=seed,
        n=3,
        extra_body={"response_format": asked(schema)},
    )

    for choice in answer.choices:
        if choice.finish_reason == "stop":
            validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
            validator.validate(json.loads(choice.text))
        else:
            assert choice.finish_reason == "length"
            assert answer.usage.completion_tokens >= 60


def test_most_answers_under_a_small_schema_end_by_themselves(client: Any) -> None:
    answer = client.chat.completions.create(
        model="tales",
        messages=[{"role": "user", "content": "How old?"}],
        max_tokens=80,
        n=8,
        seed=3,
        response_format=asked({"type": "array", "items": {"type": "boolean"}, "maxItems": 2}),
    )

    assert [choice.finish_reason for choice in answer.choices].count("stop") >= 6


def test_any_object_is_an_object_and_streams_the_same(client: Any) -> None:
    ask: dict[str, Any] = {
        "model": "tales",
        "messages": [{"role": "user", "content": "Why?"}],
        "max_tokens": 60,
        "temperature": 0,
        "response_format": {"type": "json_object"},
    }

    whole = client.chat.completions.create(**ask).choices[0]
    chunks = list(client.chat.completions.create(**ask, stream=True))

    assert whole.message.content.startswith("{")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.message.content
    if whole.finish_reason == "stop":
        assert isinstance(json.loads(whole.message.content), dict)


def test_the_clients_own_parsing_works(client: Any) -> None:
    answer = client.chat.completions.create(
        model="tales",
        messages=[{"role": "user", "content": "Left or right?"}],
        max_tokens=20,
        response_format=asked({"enum": ["left", "right"]}),
    )

    assert json.loads(answer.choices[0].message.content) in ("left", "right")
    assert answer.choices[0].finish_reason == "stop"


def test_guided_and_free_answers_share_passes_without_a_trace(client: Any) -> None:
    free = {"model": "tales", "prompt": TEXT, "max_tokens": 12, "temperature": 0, "logprobs": 2}
    alone = client.completions.create(**free).choices[0]

    together = client.completions.create(
        model="tales",
        prompt=[TEXT, TEXT],
        max_tokens=12,
        temperature=0,
        extra_body={"response_format": asked(PERSON)},
    )
    after = client.completions.create(**free).choices[0]

    assert together.choices[0].text == together.choices[1].text
    assert together.choices[0].text.startswith("{")
    assert after == alone


def test_likelihoods_are_the_models_own_not_those_of_the_form(client: Any) -> None:
    free = client.completions.create(model="tales", prompt=TEXT, max_tokens=1, temperature=0, logprobs=5)

    guided = client.completions.create(
        model="tales",
        prompt=TEXT,
        max_tokens=1,
        temperature=0,
        logprobs=5,
        extra_body={"structured_outputs": {"choice": ["{"]}},
    )

    assert guided.choices[0].text == "{"
    (likely,), (unlikely,) = free.choices[0].logprobs.top_logprobs, guided.choices[0].logprobs.top_logprobs
    assert unlikely == likely | {"{": guided.choices[0].logprobs.token_logprobs[0]}
    assert guided.choices[0].logprobs.token_logprobs[0] < free.choices[0].logprobs.token_logprobs[0]


def test_a_choice_and_an_expression_are_forms_too(client: Any) -> None:
    def say(**form: Any) -> Any:
        return client.completions.create(
            model="tales", prompt=TEXT, max_tokens=30, seed=1, extra_body={"structured_outputs": form}
        ).choices[0]

    assert say(choice=["yes", 'no "never"\n', "ä"]).text in ("yes", 'no "never"\n', "ä")
    assert re.fullmatch(r"[0-9]{3}-[a-f]+!", say(regex="[0-9]{3}-[a-f]{1,4}!").text)
    assert json.loads(say(json={"const": [1, "two"]}).text) == [1, "two"]


@pytest.mark.parametrize(("schema", "said"), WRONG)
def test_a_schema_that_cannot_be_kept_to_is_refused_by_field(
    live: LiveServer, schema: dict[str, Any], said: str
) -> None:
    refused = live.post("/v1/completions", model="tales", prompt="x", response_format=asked(schema))

    error = refused.json()["error"]
    assert refused.status_code == 400
    assert error["param"] == "response_format.json_schema.schema"
    assert said in error["message"]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("strict", [None, False])
def test_what_of_a_schema_cannot_be_kept_is_left_out_and_told_where_it_is_not_strict(
    client: Any, *, strict: bool | None, streamed: bool
) -> None:
    tags = {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2, "uniqueItems": True}
    overlapping = {"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 0, "maximum": 9}]}
    schema = {
        "type": "object",
        "properties": {"tags": tags, "size": overlapping},
        "required": ["tags", "size"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": strict}}

    answer = client.chat.completions.create(
        model="tales",
        messages=[{"role": "user", "content": "Tags?"}],
        max_tokens=60,
        temperature=0,
        response_format=form,
        stream=streamed,
    )

    parts = list(answer) if streamed else [answer]
    unique, either = parts[-1].fletch["not_kept"]
    assert "uniqueItems" in unique
    assert "oneOf" in either
    choices = [part.choices[0] for part in parts]
    text = "".join((choice.delta if streamed else choice.message).content or "" for choice in choices)
    assert re.match(r'\{\s*"tags"\s*:\s*\[', text)
    if choices[-1].finish_reason == "stop":
        found = json.loads(text)
        assert set(found) == {"tags", "size"}
        assert set(found["tags"]) <= {"a", "b"}


@pytest.mark.parametrize("streamed", [False, True])
def test_a_stop_string_cuts_an_answer_within_its_form(client: Any, *, streamed: bool) -> None:
    ask: dict[str, Any] = {
        "model": "tales",
        "messages": [{"role": "user", "content": "Where?"}],
        "max_tokens": 60,
        "extra_body": {"structured_outputs": {"choice": ["It rains in Bergen."]}},
    }

    def said(**more: Any) -> tuple[str, str]:
        answer = client.chat.completions.create(**ask, **more, stream=streamed)
        choices = [part.choices[0] for part in answer] if streamed else answer.choices
        text = "".join((choice.delta if streamed else choice.message).content or "" for choice in choices)
        return text, choices[-1].finish_reason

    assert said(stop="rgen") == ("It rains in Be", "stop")
    assert said(stop=["Oslo", "\nuser:"]) == ("It rains in Bergen.", "stop")


def test_nothing_is_told_of_a_schema_that_is_kept(client: Any) -> None:
    answer = client.completions.create(
        model="tales", prompt="x", max_tokens=5, extra_body={"response_format": asked(PERSON)}
    )

    assert "not_kept" not in answer.fletch


def test_what_is_no_schema_is_refused_where_it_is_not_strict_too(live: LiveServer) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "strin"}}}

    refused = live.post("/v1/completions", model="tales", prompt="x", response_format=form)

    assert (refused.status_code, refused.json()["error"]["param"]) == (
        400,
        "response_format.json_schema.schema",
    )


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"structured_outputs": {"regex": "("}}, "structured_outputs.regex"),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
        ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "structured_outputs"),
        ({"structured_outputs": {}}, "structured_outputs"),
        (
            {"structured_outputs": {"choice": ["a"]}, "response_format": {"type": "text"}},
            "structured_outputs",
        ),
    ],
)
def test_a_form_that_is_none_is_refused(live: LiveServer, change: dict[str, Any], param: str) -> None:
    refused = live.post("/v1/completions", model="tales", prompt="x", **change)

    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == param
