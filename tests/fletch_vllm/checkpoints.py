"""Routed checkpoints of small libraries, as the hub hands them out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from routing.checkpoint import Source, write_routed
from routing.factors import Factors
from routing.index import ExpertEntry, RoutingPolicy, manifest_of
from routing.prototypes import routing_vectors
from routing.spec import BaseRef
from routing.store import IndexStore, open_store
from tests.routing.libraries import SmallLibrary

NEUTRAL = torch.arange(96, dtype=torch.int32).view(4, 24) % 300


def checkpoint(
    folder: Path,
    library: SmallLibrary,
    policy: RoutingPolicy,
    *,
    factors: Mapping[str, dict[str, Factors]] | None = None,
    neutral: torch.Tensor | None = NEUTRAL,
    gates_of: str | None = None,
) -> Path:
    """A checkpoint of a library's experts, of whom one may have (random) gates; no neutral text where it is None."""
    store, spec = open_store(str(folder / "store")), library.base().spec
    store.put_base(spec)
    entries = [
        _kept(store, name, found, gated=name == gates_of)
        for name, found in sorted((factors or library.experts()).items())
    ]
    text = None if neutral is None else store.put_neutral(neutral)
    manifest = manifest_of(spec.digest, entries, policy=policy, calibration=text)
    write_routed(folder / "checkpoint", Source(store, manifest, spec, BaseRef(str(library.folder))))
    return folder / "checkpoint"


def _kept(store: IndexStore, name: str, factors: dict[str, Factors], *, gated: bool) -> ExpertEntry:
    chance = torch.Generator().manual_seed(7)
    gates = {module: torch.randn(found.a.shape[1], generator=chance) for module, found in factors.items()}
    kept = store.put_expert(routing_vectors(factors, gates if gated else None), factors)
    return ExpertEntry(name, "a" * 40, kept.vectors, kept.factors, kept.vectors_size, kept.factors_size)
