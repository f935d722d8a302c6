"""JSON of strangers: read so that every reader of the same bytes sees the same thing, or not at all."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from routing.errors import BadAdapter
from routing.finding import Finding

MAX_NUMBER_LENGTH = 64


class _Ambiguous(ValueError):
    """A spelling that JSON libraries read differently."""


def parse_strict(content: bytes, *, file: str, check: str, max_depth: int) -> Any:
    """UTF-8 JSON without duplicate keys, NaN, Infinity, lone surrogates or deep nesting; else BadAdapter."""
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_short_integer,
            parse_float=_finite,
        )
        _refuse_depth(value, max_depth)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # refuses lone surrogates
    except RecursionError:
        problem = "thousands of nested brackets"
    except UnicodeDecodeError as error:
        problem = f"bytes that are not UTF-8 at position {error.start}"
    except UnicodeEncodeError:
        problem = "half of a surrogate pair"
    except ValueError as error:
        problem = str(error)
    else:
        return value
    raise BadAdapter(
        [
            Finding(
                check,
                "error",
                file,
                "",
                problem,
                "plain UTF-8 JSON",
                "Save it again with PEFT's save_pretrained.",
            )
        ]
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _Ambiguous(f"the key {key!r} twice")
        found[key] = value
    return found


def _no_constant(name: str) -> NoReturn:
    raise _Ambiguous(f"the number {name}")


def _short_integer(text: str) -> int:
    if len(text) > MAX_NUMBER_LENGTH:
        raise _Ambiguous(f"a number of {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    number = float(text) if len(text) <= MAX_NUMBER_LENGTH else math.inf
    if not math.isfinite(number):
        raise _Ambiguous(f"the number {text[:MAX_NUMBER_LENGTH]}")
    return number


def _refuse_depth(value: Any, max_depth: int) -> None:
    containers = [value]
    for _ in range(max_depth):
        containers = [
            item for outer in containers for item in _inside(outer) if isinstance(item, dict | list)
        ]
    if containers:
        raise _Ambiguous(f"more than {max_depth} levels of nesting")


def _inside(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
