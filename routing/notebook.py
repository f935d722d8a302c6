"""What a notebook needs besides: experts from folders, and libraries kept in a store and opened again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from routing.adapter import read_adapter
from routing.base import Base, load_base
from routing.checkpoint import Source
from routing.composed import ComposedModel, compose_version
from routing.config_document import CONFIG_FILE
from routing.errors import BadAdapter, BadManifest, UnknownVersion
from routing.factors import Factors, expert_factors
from routing.index import DEFAULT_POLICY, ExpertEntry, IndexManifest, RoutingPolicy, manifest_of
from routing.neutral import neutral_tokens
from routing.prototypes import routing_vectors
from routing.store import IndexStore, LibraryRef
from routing.weights import layers_of

Gates = Mapping[str, Mapping[str, Tensor]]


def read_experts(folders: str | Path | Mapping[str, str | Path], base: Base) -> dict[str, dict[str, Factors]]:
    """The factors by expert and module of PEFT folders: of those you name, or of all directly inside one.

    Inside a folder `mara--plural` is called `mara/plural`. BadAdapter says which does not fit the base.
    """
    named = _adapters_inside(Path(folders)) if isinstance(folders, str | Path) else folders
    return {name: _read(Path(folder), base) for name, folder in named.items()}


def publish(
    store: IndexStore,
    library: str,
    base: Base,
    experts: Mapping[str, Mapping[str, Factors]],
    *,
    policy: RoutingPolicy | None = None,
    gates: Gates | None = None,
    neutral: Int[Tensor, "sequences length"] | None = None,
) -> int:
    """Keep these experts as the next version of a library, make it the current one, and return its number.

    Scores are calibrated on `neutral`, by default on what is drawn from the base. Nothing changes, and the
    current number is returned, if it is what the current version holds already.
    """
    text = store.put_neutral(neutral_tokens(base) if neutral is None else neutral)
    pinned = store.put_base(base.spec)
    store.set_library(library, LibraryRef(base.ref, pinned, text))
    learnt = gates or {}
    entries = [keep_expert(store, name, factors, learnt.get(name)) for name, factors in experts.items()]
    manifest = manifest_of(pinned, entries, policy=policy or DEFAULT_POLICY, calibration=text)
    current = store.current(library)
    if current is not None and current.manifest == store.put_manifest(manifest):
        return current.number
    number = max(store.versions(library), default=0) + 1
    store.write_version(library, number, manifest)
    store.set_current(library, number)
    return number


def keep_expert(
    store: IndexStore, name: str, factors: Mapping[str, Factors], gates: Mapping[str, Tensor] | None = None
) -> ExpertEntry:
    """Put one expert into a store. Without a hub nobody numbers releases: what it is made of names it."""
    stored = store.put_expert(routing_vectors(factors, gates), factors)
    return ExpertEntry(
        name, stored.factors[:40], stored.vectors, stored.factors, stored.vectors_size, stored.factors_size
    )


def open_library(
    store: IndexStore,
    library: str,
    version: int | None = None,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> ComposedModel:
    """The composed model of a library at a version, the current one by default; UnknownVersion if none."""
    found = library_source(store, library, version)
    base = load_base(found.base, spec=found.spec, device=device, dtype=dtype)
    return compose_version(store, found.manifest, base)


def library_source(store: IndexStore, library: str, version: int | None = None) -> Source:
    """A version of a library (None: the current one) as composed checkpoints are written from it."""
    ref = store.library_ref(library)
    if ref is None:
        raise BadManifest(f"the store holds no library {library}; it has {', '.join(store.libraries())}")
    manifest = _manifest(store, library, version)
    return Source(store=store, manifest=manifest, spec=store.read_base(manifest.base), base=ref.source)


def _manifest(store: IndexStore, library: str, version: int | None) -> IndexManifest:
    if version is not None:
        return store.read_version(library, version)
    current = store.current(library)
    if current is None:
        raise UnknownVersion(f"{library} has no current version")
    return store.read_manifest(current.manifest)


def _adapters_inside(folder: Path) -> dict[str, Path]:
    return {
        path.parent.name.replace("--", "/"): path.parent for path in sorted(folder.glob(f"*/{CONFIG_FILE}"))
    }


def _read(folder: Path, base: Base) -> dict[str, Factors]:
    try:
        return expert_factors(read_adapter(folder, base.spec), layers_of(base))
    except BadAdapter as error:
        error.add_note(f"in the folder {folder}")
        raise
