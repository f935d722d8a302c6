"""The OpenAPI document of the hub: values that its schemas allow, and whether a value is one that they allow."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from hub.api import api

Json = Mapping[str, Any]
DOCUMENT: Json = api.get_openapi_schema()
FAR = 2**70  # further than any database counts
KINDS: Mapping[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
    "null": type(None),
}
# Characters that databases, addresses and paths treat as special come often. No half of a surrogate pair: JSON
# that a client can send as UTF-8 has none, except as an escape, which HOSTILE holds.
HOSTILE = (
    "",
    "\0",
    "a\0b",
    "..",
    "../../x",
    "%00",
    "%",
    "_",
    "\ud800",
    "\u202e",
    "🦊" * 40,
    "x" * 5000,
    "-1",
)
TEXT = st.sampled_from(HOSTILE) | st.text(max_size=30)


@dataclass(frozen=True)
class Operation:
    """One method of one address, as documented."""

    method: str
    path: str
    said: Json

    @property
    def name(self) -> str:
        return str(self.said["operationId"])

    @property
    def body(self) -> tuple[str, Json] | None:
        """The media type and the schema of what is sent along."""
        content = self.said.get("requestBody", {}).get("content", {})
        return next(((kind, one["schema"]) for kind, one in content.items()), None)

    def response(self, status: int) -> Json | None:
        """What is documented for this status."""
        answers = {str(code): answer for code, answer in self.said["responses"].items()}
        return answers.get(str(status))


def operations() -> list[Operation]:
    """All of them."""
    return [
        Operation(method, path, said)
        for path, methods in DOCUMENT["paths"].items()
        for method, said in methods.items()
    ]


def resolved(schema: Json) -> Json:
    """The schema itself where it is a reference."""
    if "$ref" not in schema:
        return schema
    found: Json = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def anything() -> st.SearchStrategy[Any]:
    """Any JSON, and what only looks like it."""
    flat = st.none() | st.booleans() | st.sampled_from([0, -1, FAR, -FAR, 1e308]) | TEXT
    return st.recursive(
        flat,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=5,
    )


def valid(schema: Json, known: Mapping[str, list[Any]]) -> st.SearchStrategy[Any]:
    """What the schema allows; `known` are values that exist here, by the name of the property."""
    schema = resolved(schema)
    if "anyOf" in schema:
        return st.one_of([valid(one, known) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _of_type(schema, known)


def _of_type(schema: Json, known: Mapping[str, list[Any]]) -> st.SearchStrategy[Any]:
    low, high = schema.get("minimum", -FAR), schema.get("maximum", FAR)
    makers: Mapping[str, Callable[[], st.SearchStrategy[Any]]] = {
        "integer": lambda: st.sampled_from([1, 2]) | st.integers(low, high),
        "number": lambda: st.floats(allow_nan=False, allow_infinity=False),
        "boolean": st.booleans,
        "null": st.none,
        "array": lambda: st.lists(valid(schema.get("items", {}), known), max_size=4),
        "object": lambda: _object(schema, known),
        "string": lambda: _string(schema),
    }
    return makers.get(schema.get("type", ""), anything)()


def _string(schema: Json) -> st.SearchStrategy[str]:
    shape = re.compile(schema.get("pattern", ""))
    longest = schema.get("maxLength", FAR)
    return TEXT.filter(lambda text: bool(shape.search(text)) and len(text) <= longest)


def _object(schema: Json, known: Mapping[str, list[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    if "properties" not in schema:
        more = schema.get("additionalProperties", True)
        inside = anything() if isinstance(more, bool) else valid(more, known)
        return st.dictionaries(TEXT, inside, max_size=3 if more else 0)
    values = {name: _named(name, one, known) for name, one in schema["properties"].items()}
    needed = {name: value for name, value in values.items() if name in schema.get("required", ())}
    rest = {name: value for name, value in values.items() if name not in needed}
    return st.fixed_dictionaries(needed, optional=rest)


def _named(name: str, schema: Json, known: Mapping[str, list[Any]]) -> st.SearchStrategy[Any]:
    generated = valid(schema, known)
    return st.sampled_from(known[name]) | generated if name in known else generated


def mostly_valid(name: str, schema: Json, known: Mapping[str, list[Any]]) -> st.SearchStrategy[Any]:
    """What exists here, what could, and what could not."""
    return _named(name, schema, known) | anything()


def violations(value: Any, schema: Json, at: str = "$") -> Iterator[str]:
    """Where a value is not what the schema says, as far as our schemas say things."""
    schema = resolved(schema)
    if "anyOf" in schema:
        if all(any(violations(value, one, at)) for one in schema["anyOf"]):
            yield f"{at} is {value!r}; expected one of {schema['anyOf']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at} is {value!r}; expected one of {schema['enum']}"
    kind = schema.get("type")
    if kind is not None and not _is(value, kind):
        yield f"{at} is {value!r}; expected {kind}"
    elif kind == "array":
        for place, one in enumerate(value):
            yield from violations(one, schema.get("items") or {}, f"{at}[{place}]")
    elif kind == "object":
        yield from _members(value, schema, at)


def _is(value: object, kind: str) -> bool:
    return isinstance(value, KINDS[kind]) and not (kind in {"integer", "number"} and isinstance(value, bool))


def _members(value: Mapping[str, Any], schema: Json, at: str) -> Iterator[str]:
    known = schema.get("properties", {})
    yield from (f"{at} has no {name}" for name in schema.get("required", ()) if name not in value)
    for name, one in value.items():
        if name in known:
            yield from violations(one, known[name], f"{at}.{name}")
        elif isinstance(schema.get("additionalProperties"), Mapping):
            yield from violations(one, schema["additionalProperties"], f"{at}.{name}")
