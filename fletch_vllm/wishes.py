"""How an engine is told to route: in the overrides of the base's configuration, all of it optional.

`--hf-overrides '{"architectures": ["FletchForCausalLM"], "fletch": {"router": "arrow", "top_k": 2}}'`

One engine routes all its requests in one way; what is not said is the checkpoint's policy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from fletch_vllm.errors import NotServable

ARCHITECTURE = "FletchForCausalLM"
FIELD = "fletch"  # of the configuration


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


# field: whether a value is one, and what one is
KNOWN: Mapping[str, tuple[Callable[[Any], bool], str]] = MappingProxyType(
    {
        "router": (lambda value: isinstance(value, str), "a name"),
        "top_k": (_count, "a whole number"),
        "temperature": (_number, "a number"),
        "calibrated": (lambda value: isinstance(value, bool), "true or false"),
        "abstain": (lambda value: value is None or _number(value), "a number, or null"),
        "experts": (_names, "a list of names of experts"),
    }
)


def parse(found: Any) -> dict[str, Any]:
    """The wishes in a configuration's field as arguments of `routing_of`; NotServable names each bad one."""
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise NotServable([f"{FIELD}: found {found!r}, expected an object with any of {', '.join(KNOWN)}"])
    wrong = [
        f"{FIELD}.{name}: found {value!r}, expected {KNOWN[name][1]}"
        if name in KNOWN
        else f"{FIELD}.{name}: not known; there are {', '.join(KNOWN)}"
        for name, value in found.items()
        if name not in KNOWN or not KNOWN[name][0](value)
    ]
    if wrong:
        raise NotServable(wrong)
    return {name: tuple(value) if name == "experts" else value for name, value in found.items()}


def overrides(said: Mapping[str, Any]) -> str:
    """What follows `--hf-overrides`: the architecture, and these wishes."""
    asked = {FIELD: dict(said)} if said else {}
    return json.dumps({"architectures": [ARCHITECTURE], **asked})
