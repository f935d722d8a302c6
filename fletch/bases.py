"""Base models at home, for the commands that compute."""

from __future__ import annotations

from typing import Any

from fletch.command import computing


def loaded(source: str, revision: str | None, device: str | None, *, spec: Any = None) -> Any:
    """The base at `source` in memory; RoutingError if there is none, or if it is not what `spec` pins."""
    bases, specs = computing("routing.base"), computing("routing.spec")
    place = device or ("cuda" if computing("torch").cuda.is_available() else "cpu")
    return bases.load_base(specs.BaseRef(source, revision), spec=spec, device=place)
