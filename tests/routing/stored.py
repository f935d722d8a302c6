"""Small experts and manifests in an index store; a process of its own imports them sooner than a file of tests."""

from __future__ import annotations

import torch

from routing.digests import digest_of
from routing.factors import Factors
from routing.index import ExpertEntry, IndexManifest, manifest_of
from routing.prototypes import RoutingVector
from routing.spec import BaseSpec, TargetModule
from routing.store import IndexStore, open_store

__all__ = ["SPEC", "a_manifest", "open_store", "put_expert"]

SPEC = BaseSpec("tiny", "Llama", None, "c", "t", "w", 10, 20, (TargetModule("layer.0", "linear", 8, 6, 1.5),))


def put_expert(store: IndexStore, name: str, seed: int = 0) -> ExpertEntry:
    generator = torch.Generator().manual_seed(seed)
    factors = Factors(
        torch.randn(2, 8, generator=generator),
        torch.randn(6, 2, generator=generator),
        torch.tensor([2.0, 1.0]),
    )
    kept = store.put_expert({"layer.0": RoutingVector(factors.a[0], factors.sigma)}, {"layer.0": factors})
    return ExpertEntry(name, digest_of(name.encode())[:40], kept.vectors, kept.factors, 1, 1)


def a_manifest(store: IndexStore, *names: str) -> IndexManifest:
    base = store.put_base(SPEC)
    return manifest_of(base, [put_expert(store, name, seed) for seed, name in enumerate(names)])
