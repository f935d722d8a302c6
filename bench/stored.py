"""Libraries of random experts on disk, as the hub leaves them: a base, a store with one version, a checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from bench.models import SHAPES, llama, words
from routing.base import inspect_base
from routing.checkpoint import Source, write_routed
from routing.factors import Factors
from routing.index import ExpertEntry, RoutingPolicy, manifest_of
from routing.prototypes import routing_vectors
from routing.spec import BaseRef, BaseSpec
from routing.store import IndexStore, LibraryRef, open_store

LIBRARY = "bench"
STRENGTHS = (0.5, 1.0)  # of an update's weakest and strongest direction


@dataclass(frozen=True)
class Stored:
    """Where a library is."""

    folder: Path

    @property
    def base(self) -> Path:
        """Its base's folder."""
        return self.folder / "base"

    @property
    def store(self) -> Path:
        """The index store, for a serving process."""
        return self.folder / "store"

    @property
    def checkpoint(self) -> Path:
        """Its only version as a routed checkpoint."""
        return self.folder / "checkpoint"


def stored(
    folder: Path,
    *,
    size: str,
    experts: int,
    rank: int,
    top_k: int,
    dtype: torch.dtype = torch.float32,
) -> Stored:
    """The library in this folder, its base kept in `dtype`; made where it is not whole yet."""
    library = Stored(folder)
    if not library.checkpoint.exists():
        shutil.rmtree(folder, ignore_errors=True)
        llama(SHAPES[size], dtype=dtype).save_pretrained(library.base)
        _make(library, size=size, experts=experts, rank=rank, top_k=top_k)
    return library


def _make(library: Stored, *, size: str, experts: int, rank: int, top_k: int) -> None:
    words(SHAPES[size].vocabulary).save_pretrained(library.base)
    base = BaseRef(str(library.base))
    spec = inspect_base(base, name=f"bench-{size}")
    store = open_store(str(library.store))
    store.put_base(spec)
    store.set_library(LIBRARY, LibraryRef(base, spec.digest))
    entries = list(_experts(store, spec, experts, rank))
    manifest = manifest_of(spec.digest, entries, policy=RoutingPolicy("arrow", top_k=top_k))
    store.write_version(LIBRARY, 1, manifest)
    store.set_current(LIBRARY, 1)
    half = library.folder / "half"
    write_routed(half, Source(store, manifest, spec, base))
    half.rename(library.checkpoint)


def _experts(store: IndexStore, spec: BaseSpec, count: int, rank: int) -> Iterator[ExpertEntry]:
    chance = torch.Generator().manual_seed(1)
    for place in range(count):
        factors = {
            module.name: _update(module.d_in, module.d_out, rank, chance) for module in spec.target_modules
        }
        kept = store.put_expert(routing_vectors(factors), factors)
        yield ExpertEntry(
            f"bench/e{place:04d}", "a" * 40, kept.vectors, kept.factors, kept.vectors_size, kept.factors_size
        )


def _update(d_in: int, d_out: int, rank: int, chance: torch.Generator) -> Factors:
    """A random update in canonical form."""
    a = torch.linalg.qr(torch.randn(d_in, rank, generator=chance)).Q.T
    u = torch.linalg.qr(torch.randn(d_out, rank, generator=chance)).Q
    sigma = torch.linspace(STRENGTHS[1], STRENGTHS[0], rank)
    return Factors(a.contiguous(), u * sigma, sigma)
