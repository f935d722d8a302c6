"""From what a request says of its answer's form to a grammar."""

from __future__ import annotations

import json
from typing import Any

from llguidance import LLMatcher

from workers.serving.bodies import AnyBody, JsonSchemaFormat, StructuredOutputs
from workers.serving.errors import invalid
from workers.serving.guides import Grammar

ANY_OBJECT = {"type": "object"}
# What a schema may not change (it could, by its own `x-guidance`). Between two tokens of JSON there is room
# for a line break and its indentation, not for a model that writes spaces until it is cut off.
OPTIONS: dict[str, Any] = {
    "whitespace_flexible": True,
    "whitespace_pattern": r"[ \t\r\n]{0,40}",
    "item_separator": ",",
    "key_separator": ":",
    "lenient": False,
    "coerce_one_of": False,
}
# Keywords that cannot be kept to are left out, and `oneOf` whose members overlap is read as `anyOf`.
LENIENT: dict[str, Any] = {**OPTIONS, "lenient": True, "coerce_one_of": True}


def form_of(body: AnyBody) -> Grammar | None:
    """The form that a request prescribes; None if the answer is free."""
    asked, ours = body.response_format, body.structured_outputs
    if ours is not None:
        if asked is not None:
            raise invalid("structured_outputs", "and `response_format` both prescribe a form; leave one out")
        return _ours(ours)
    if asked is None or asked.type == "text":
        return None
    if isinstance(asked, JsonSchemaFormat):
        given = asked.json_schema
        wanted = ANY_OBJECT if given.schema_ is None else given.schema_
        options = OPTIONS if given.strict else LENIENT
        return of_schema(wanted, "response_format.json_schema.schema", options)
    return of_schema(ANY_OBJECT, "response_format")


def of_schema(schema: dict[str, Any], param: str, options: dict[str, Any] = OPTIONS) -> Grammar:
    """JSON that is valid under a schema; ApiError if that is none."""
    try:
        return Grammar(LLMatcher.grammar_from_json_schema(schema, overrides=options), param)  # type: ignore[arg-type]
    except (ValueError, RecursionError) as error:
        raise invalid(param, str(error)) from error


def _ours(asked: StructuredOutputs) -> Grammar:
    given = asked.model_dump(by_alias=True, exclude_none=True)
    if len(given) != 1:
        found = " and ".join(given) or "nothing"
        raise invalid("structured_outputs", f"found {found}, expected one of json, regex, choice")
    if asked.json_ is not None:
        return of_schema(asked.json_, "structured_outputs.json")
    if asked.regex is not None:
        return Grammar(LLMatcher.grammar_from_regex(asked.regex), "structured_outputs.regex")
    words = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in asked.choice or ())
    return Grammar(LLMatcher.grammar_from_lark(f"start: {words}"), "structured_outputs.choice")
