"""GET /v1/models: libraries, the versions in memory, the plain bases and the single experts.

By name also a published version that is not in memory: it can be asked, and is read when it is.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Hashable, Iterator
from typing import Any

from workers.serving import names
from workers.serving.libraries import Libraries
from workers.serving.library import Library
from workers.serving.versions import Version

Model = dict[str, Any]


class Catalogue:
    """The list as it is sent: written when what it says of a library has changed. Safe to use from threads.

    With ten thousand experts it is three megabytes.
    """

    def __init__(self, created: int) -> None:
        self._created = created
        self._written: dict[str, tuple[Hashable, bytes]] = {}  # by library, beside what it says
        self._lock = threading.Lock()

    def document(self, libraries: Libraries, *, admitted: Callable[[str], bool]) -> bytes:
        """JSON of every model of the libraries whose names are `admitted` that is ready to be asked."""
        served = libraries.served
        with self._lock:  # a crowd that asks after a change has it written once
            told = {name: self._of(library) for name, library in served.items() if admitted(name)}
            self._written = {name: kept for name, kept in self._written.items() if name in served} | told
        return b'{"object":"list","data":[' + b",".join(text for _, text in told.values() if text) + b"]}"

    def _of(self, library: Library) -> tuple[Hashable, bytes]:
        state = _state(library)
        known = self._written.get(library.name)
        if known is not None and known[0] == state:
            return known
        return state, b",".join(map(_json, _models(library, self._created)))


def find(libraries: Libraries, name: str, created: int) -> Model | None:
    """One of them, or a published version, by name. It is looked for in the store, but not loaded."""
    address = names.parse(name)
    library = None if address is None else libraries.served.get(address.library)
    if address is None or library is None:
        return None
    live = library.live
    if isinstance(address, names.Base):
        return None if library.model is None else _base(library, created)
    if isinstance(address, names.Single):
        there = live is not None and address.expert in live.pack.places
        return _expert(library, address.expert, created) if there else None
    if address.version is None:
        return None if live is None else _routed(library, live, created)
    known = address.version in library.held or library.publishes(address.version)
    return _version(library, address.version, created) if known else None


def _state(library: Library) -> Hashable:
    """Equal as long as the same is said of a library."""
    live = library.live
    version = None if live is None else (live.number, live.manifest)
    return version, tuple(library.held), tuple(_reading(library).items())


def _json(model: Model) -> bytes:
    return json.dumps(model, ensure_ascii=False, separators=(",", ":")).encode()


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


def _models(library: Library, created: int) -> Iterator[Model]:
    live = library.live
    if live is not None:
        yield _routed(library, live, created)
    for number in library.held:
        yield _version(library, number, created)
    if library.model is not None:
        yield _base(library, created)
    for expert in () if live is None else live.pack.experts:
        yield _expert(library, expert, created)


def _routed(library: Library, live: Version, created: int) -> Model:
    ours = {"version": live.number, "versions_held": library.held, "experts": len(live.pack.experts)}
    return _model(library.name, "library", library, created, **ours)


def _base(library: Library, created: int) -> Model:
    return _model(f"{library.name}/base", "base", library, created)


def _expert(library: Library, expert: str, created: int) -> Model:
    return _model(f"{library.name}/{expert}", "expert", library, created, adapter=expert)


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
