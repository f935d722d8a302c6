"""Libraries as a store holds them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from routing.factors import Factors
from routing.index import ExpertEntry, IndexManifest, RoutingPolicy, manifest_of
from routing.prototypes import routing_vectors
from routing.spec import BaseRef, BaseSpec
from routing.store import IndexStore, LibraryRef, open_store
from tests.routing.libraries import SmallLibrary

POLICY = RoutingPolicy(top_k=2)
RELEASE = "a" * 40


class PublishedLibrary:
    """A small library in a store, whose versions a test publishes and promotes."""

    def __init__(self, root: Path, library: SmallLibrary, *, name: str = "tales") -> None:
        self.name = name
        self.library = library
        self.url = str(root)
        self.store: IndexStore = open_store(self.url)
        self.spec: BaseSpec = library.untouched.spec
        self.base = BaseRef(str(library.folder))
        self.entries = {expert: self.keep(expert, factors) for expert, factors in library.experts().items()}
        self.store.put_base(self.spec)
        self.store.set_library(name, LibraryRef(self.base, self.spec.digest))

    @property
    def vectors_size(self) -> int:
        """Bytes of everybody's routing vectors."""
        return sum(entry.vectors_size for entry in self.entries.values())

    def keep(self, expert: str, factors: dict[str, Factors]) -> ExpertEntry:
        """Put one expert into the store."""
        stored = self.store.put_expert(routing_vectors(factors), factors)
        return ExpertEntry(
            expert, RELEASE, stored.vectors, stored.factors, stored.vectors_size, stored.factors_size
        )

    def manifest(self, experts: Sequence[str] | None = None, *, base: str | None = None) -> IndexManifest:
        """A manifest of these experts (all), on the base of this digest (the library's own)."""
        chosen = [entry for name, entry in self.entries.items() if experts is None or name in experts]
        return manifest_of(base or self.spec.digest, chosen, policy=POLICY)

    def publish(self, number: int, experts: Sequence[str] | None = None) -> IndexManifest:
        """Write a version and make it the current one."""
        manifest = self.manifest(experts)
        self.store.write_version(self.name, number, manifest)
        self.store.set_current(self.name, number)
        return manifest
