"""docker-compose.yml as its own commands, moved from containers to this machine."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


class Unset(Exception):
    """A variable that the compose file demands is not set."""


def read(values: Mapping[str, str]) -> dict[str, Any]:
    """The file with its variables filled in as `docker compose` does."""
    document = yaml.safe_load((PROJECT / "docker-compose.yml").read_text(encoding="utf-8"))
    return dict(_filled(document, values))


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, values) for value in node]
    return VARIABLE.sub(lambda found: _value(found, values), node) if isinstance(node, str) else node


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    name, kind, rest = found.groups()
    if values.get(name):
        return values[name]
    if kind == "-":
        return str(rest)
    raise Unset(f"{name}: {rest or 'not set'}")


@dataclass(frozen=True)
class Moves:
    """What stands in a container's command or environment, and what it is on this machine."""

    texts: tuple[tuple[str, str], ...]

    def __call__(self, text: str) -> str:
        for here, there in self.texts:
            text = text.replace(here, there)
        return text


def command(service: Mapping[str, Any], moves: Moves) -> list[str]:
    return [moves(str(part)) for part in service["command"]]


def health_command(service: Mapping[str, Any], moves: Moves) -> list[str]:
    kind, *parts = service["healthcheck"]["test"]
    assert kind == "CMD"
    return [moves(str(part)) for part in parts]


def environment(service: Mapping[str, Any], moves: Moves) -> dict[str, str]:
    """The container's own variables over a bare environment: nothing of this machine's FLETCH_* or AWS_*."""
    bare = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("FLETCH_", "AWS_", "DJANGO_"))
    }
    return {**bare, **{name: moves(str(value)) for name, value in service.get("environment", {}).items()}}
