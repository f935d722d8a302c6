"""A published library, whole in memory and on shelves of any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from routing.calibration import calibrated_pack
from routing.generation import Generation, Request
from routing.index import ExpertEntry
from routing.neutral import neutral_tokens
from routing.pack import Pack
from routing.packing import load_bare, load_pack
from routing.prototypes import routing_vectors
from routing.queries import QueryRouter
from routing.residence import Residence
from routing.resident import ResidentPack, Shelf
from routing.routed import RoutedModel
from routing.routes import Route, Routing
from routing.sampling import Sampling
from tests.routing.kinds import llama_kinds
from tests.routing.libraries import TEXT
from tests.routing.published import PublishedLibrary

CPU = torch.device("cpu")
PLENTY = 2**30
NEUTRAL = "n" * 64


WAYS = {
    "arrow": Routing("arrow", top_k=2),
    "phatgoose": Routing("phatgoose", top_k=2),
    "spectral": Routing("spectral", top_k=2),
    "calibrated": Routing("delta-norm", top_k=2, calibrated=True),
    "two-stage": Routing("two-stage", top_k=1),
    "named": Routing("arrow", top_k=2, experts=("ada/lora", "cy/ia3", "di/dora")),
    "single": Routing("single", top_k=1, experts=("bob/dora",)),
    "uniform": Routing("uniform", top_k=1),
    "shortlist": Routing("evidence", top_k=1, shortlist=2),
    "prior": Routing("arrow", top_k=2, prior_weight=2.0),
    "subtracted": Routing("arrow", top_k=1, general=("ada/lora",), subtract=0.5),
    "retrieval": Routing("retrieval", top_k=2),
}


class Served:
    """A published library, whole in memory and on shelves of any size."""

    def __init__(self, published: PublishedLibrary) -> None:
        self.published = published
        self.model = RoutedModel(published.library.base())
        self.whole = self._measured(
            load_pack(
                published.store,
                published.manifest(),
                published.spec,
                device=CPU,
                dtype=torch.float32,
            )
        )
        self.bare = self.load_bare()
        self.prompt: list[int] = self.model.base.tokenizer(TEXT)["input_ids"]
        self.read: list[str] = []

    def load_bare(self, parts: int = 1) -> Pack:
        """Vectors alone, or an excerpt of them."""
        published = self.published
        return self._measured(
            load_bare(published.store, published.manifest(), published.spec, device=CPU, parts=parts)
        )

    def _measured(self, pack: Pack) -> Pack:
        return calibrated_pack(self.model, pack, neutral_tokens(self.model.base), neutral=NEUTRAL)

    def resident(
        self,
        limit: int = PLENTY,
        shelf: Shelf | None = None,
        bare: Pack | None = None,
        model: RoutedModel | None = None,
    ) -> ResidentPack:
        chosen = shelf or Shelf(Residence(limit, patience=0.2))
        store, entries = self.published.store, self.published.manifest().experts
        return ResidentPack(
            chosen, "tales", store, model or self.model, bare or self.bare, entries, prove=self._prove
        )

    def _prove(self, pack: Pack) -> None:
        (place,) = {member for module in pack.modules.values() for member in module.members}
        self.read.append(pack.experts[place])

    def router(self, limit: int = PLENTY, bare: Pack | None = None) -> QueryRouter:
        return QueryRouter(self.model, bare or self.bare, resident=self.resident(limit, bare=bare))

    def size(self, *names: str) -> int:
        """Bytes that these need together."""
        return self.resident().need([self.bare.places[name] for name in names])

    def entry(self, name: str) -> ExpertEntry:
        return self.published.entries[name]

    def say(self, route: Route) -> list[int]:
        """The tokens of an answer."""
        generation = Generation(self.model, Request(tuple(self.prompt), 8, route, Sampling(0.0)))
        while generation.finish is None:
            generation.advance()
        return generation.read_tokens


def give_gates(published: PublishedLibrary, name: str) -> None:
    """Another release of an expert, with gates."""
    factors, generator = published.library.experts()[name], torch.Generator().manual_seed(len(name))
    gates = {module: torch.randn(found.a.shape[1], generator=generator) for module, found in factors.items()}
    kept = published.store.put_expert(routing_vectors(factors, gates), factors)
    published.entries[name] = replace(
        published.entries[name], vectors=kept.vectors, vectors_size=kept.vectors_size
    )


def served_kinds(folder: Path) -> Served:
    """A library of experts of every kind, three of them with gates."""
    published = PublishedLibrary(folder / "store", llama_kinds(folder / "adapters"))
    for name in ("ada/lora", "bob/dora", "flo/lora"):
        give_gates(published, name)
    return Served(published)
