"""GET /v1/models: libraries, the versions in memory, the plain bases and the single experts."""

from __future__ import annotations

from typing import Any

from workers.serving import names
from workers.serving.libraries import Libraries, Library

Model = dict[str, Any]


def describe(libraries: Libraries, created: int) -> list[Model]:
    """Every model that can be asked now."""
    return [model for library in libraries.served.values() for model in _models(library, created)]


def find(libraries: Libraries, name: str, created: int) -> Model | None:
    """One of them by name."""
    address = names.parse(name)
    library = None if address is None else libraries.served.get(address.library)
    models = [] if library is None else _models(library, created)
    return next((model for model in models if model["id"] == name), None)


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
    models += [
        _model(f"{library.name}@{number}", "version", library, created, version=number)
        for number in library.held
    ]
    if library.model is not None:
        models.append(_model(f"{library.name}/base", "base", library, created))
    experts = () if live is None else live.pack.experts
    return models + [
        _model(f"{library.name}/{expert}", "expert", library, created, adapter=expert) for expert in experts
    ]


def _model(name: str, kind: str, library: Library, created: int, **ours: object) -> Model:
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "fletch",
        "parent": None if kind == "base" else f"{library.name}/base",
        "fletch": {"kind": kind, "library": library.name, **_reading(library), **ours},
    }
