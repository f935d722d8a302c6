"""GET /v1/models: libraries, the versions in memory, the plain bases and the single experts.

By name also a published version that is not in memory: it can be asked, and is read when it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workers.serving import names
from workers.serving.libraries import Libraries
from workers.serving.library import Library

Model = dict[str, Any]


def describe(libraries: Libraries, created: int, *, admitted: Callable[[str], bool]) -> list[Model]:
    """Every model of the libraries whose names are `admitted` that is ready to be asked."""
    served = [library for name, library in libraries.served.items() if admitted(name)]
    return [model for library in served for model in _models(library, created)]


def find(libraries: Libraries, name: str, created: int) -> Model | None:
    """One of them, or a published version, by name. It is looked for in the store, but not loaded."""
    address = names.parse(name)
    library = None if address is None else libraries.served.get(address.library)
    if address is None or library is None:
        return None
    found = next((model for model in _models(library, created) if model["id"] == name), None)
    if found is not None or not isinstance(address, names.Routed) or address.version is None:
        return found
    return _version(library, address.version, created) if library.publishes(address.version) else None


def _reading(library: Library) -> dict[str, object]:
    """What a client has to know of the base to speak in its tokens."""
    if library.model is None:
        return {}
    spec = library.model.base.spec
    return {
        "base": spec.name,
        "family": spec.family,
        "context": spec.context,
        "tokenizer_digest": spec.tokenizer_digest,
    }


def _models(library: Library, created: int) -> list[Model]:
    models = []
    live = library.live
    if live is not None:
        ours = {"version": live.number, "versions_held": library.held, "experts": len(live.pack.experts)}
        models.append(_model(library.name, "library", library, created, **ours))
    models += [_version(library, number, created) for number in library.held]
    if library.model is not None:
        models.append(_model(f"{library.name}/base", "base", library, created))
    experts = () if live is None else live.pack.experts
    return models + [
        _model(f"{library.name}/{expert}", "expert", library, created, adapter=expert) for expert in experts
    ]


def _version(library: Library, number: int, created: int) -> Model:
    return _model(f"{library.name}@{number}", "version", library, created, version=number)


def _model(name: str, kind: str, library: Library, created: int, **ours: object) -> Model:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "fletch",
        "parent": None if kind == "base" else f"{library.name}/base",
        "fletch": {"kind": kind, "library": library.name, **_reading(library), **ours},
    }
