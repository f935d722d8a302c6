"""The library under soak: its casts of experts, its versions, and versions that must not be served."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.models import SHAPES
from bench.served import RELEASE, found_library, put_expert, random_factors
from routing.index import ExpertEntry, IndexManifest, RoutingPolicy, manifest_digest, manifest_of
from routing.objects import FolderStore
from routing.prototypes import routing_vectors
from routing.spec import BaseSpec
from routing.store import IndexStore

LIBRARY = "soak"
CASTS = 6
ALWAYS = 6  # experts, besides the first, that no cast leaves out
GUESTS = 6
LIST_SECONDS = 7200
NEUTRAL = (8, 32)
POLICY = RoutingPolicy(top_k=2)
# How a version is damaged, and the word that the refusal must have.
DAMAGES = {
    "truncated": "CorruptObject",
    "flipped": "CorruptObject",
    "missing": "MissingObject",
    "not a number": "NaN",
    "overflowing": "NotFinite",
    "of another base": "WrongBase",
}


@dataclass
class Shelf:
    """A library whose versions are one of a few casts each, so that their answers can be known beforehand."""

    store: IndexStore
    spec: BaseSpec
    casts: tuple[IndexManifest, ...]
    guests: tuple[ExpertEntry, ...]
    key: Ed25519PrivateKey
    versions: dict[int, str] = field(default_factory=dict)  # every sound version's manifest
    current: int = 0
    _next: int = 1

    @property
    def objects(self) -> FolderStore:
        """The store's files."""
        assert isinstance(self.store.objects, FolderStore)
        return self.store.objects

    @property
    def manifests(self) -> tuple[str, ...]:
        """The casts by their manifests' digests."""
        return tuple(manifest_digest(cast) for cast in self.casts)

    @property
    def always(self) -> list[str]:
        """Experts that are in every cast."""
        common = set.intersection(*({entry.adapter for entry in cast.experts} for cast in self.casts))
        return sorted(common)

    def lately(self) -> list[int]:
        """The latest sound versions, the served one among them."""
        return sorted({*list(self.versions)[-4:], self.current})

    def publish(self, cast: int) -> int:
        """Write one more version with this cast and make it the current one; its number."""
        number = self._write(self.casts[cast])
        self.versions[number] = self.manifests[cast]
        self.promote(number)
        return number

    def promote(self, number: int) -> None:
        """Serve this sound version."""
        self.store.set_current(LIBRARY, number)
        self.current = number

    def publish_damaged(self, damage: str, draw: Random) -> tuple[int, ExpertEntry]:
        """Write a version that must be refused and make it the current one; its number and the bad expert."""
        entry = self._bad_expert(damage, draw.randrange(2**31))
        experts = [*self.casts[draw.randrange(len(self.casts))].experts, entry]
        base = self._other_base() if damage == "of another base" else self.spec.digest
        number = self._write(manifest_of(base, experts, policy=POLICY))
        self._spoil(entry, damage)
        self.store.set_current(LIBRARY, number)
        return number, entry

    def forget(self, entry: ExpertEntry) -> None:
        """Delete a bad expert's objects, so that the disk does not fill."""
        for digest in (entry.vectors, entry.factors):
            self.objects.delete(digest)

    def guest_list(self, entries: Sequence[ExpertEntry]) -> dict[str, str]:
        """The header with a signed list of private experts, as the hub makes it."""
        experts = [
            {name: value for name, value in asdict(entry).items() if value is not None} for entry in entries
        ]
        statement = {
            "format": 1,
            "library": LIBRARY,
            "expires": int(time.time()) + LIST_SECONDS,
            "experts": experts,
        }
        return {"X-Fletch-Private": self._signed(statement)}

    def pass_for(self, caller: str, *, seconds: float) -> dict[str, str]:
        """The header with a pass without limits, as the hub makes it."""
        statement = {
            "format": 1,
            "kind": "pass",
            "caller": caller,
            "libraries": [LIBRARY],
            "expires": int(time.time() + seconds),
            "answers": None,
            "tokens_per_minute": None,
        }
        return {"X-Fletch-Pass": self._signed(statement)}

    def _signed(self, statement: Mapping[str, Any]) -> str:
        content = json.dumps(statement).encode()
        return b".".join(urlsafe_b64encode(part) for part in (content, self.key.sign(content))).decode()

    def _write(self, manifest: IndexManifest) -> int:
        number, self._next = self._next, self._next + 1
        self.store.write_version(LIBRARY, number, manifest)
        return number

    def _bad_expert(self, damage: str, seed: int) -> ExpertEntry:
        factors = random_factors(self.spec, seed, 4, 0.5)
        vectors = routing_vectors(factors)
        if damage == "not a number":
            factors = {name: replace(one, b=one.b * torch.nan) for name, one in factors.items()}
        if damage == "overflowing":
            factors = {name: replace(one, b=one.b * 1e38) for name, one in factors.items()}
        stored = self.store.put_expert(vectors, factors)
        return ExpertEntry(f"zoe/bad{seed}", RELEASE, **asdict(stored))

    def _spoil(self, entry: ExpertEntry, damage: str) -> None:
        if damage == "missing":
            self.objects.delete(entry.factors)
        if damage not in ("truncated", "flipped"):
            return
        path = self.objects.path(entry.factors)
        whole = path.read_bytes()
        path.chmod(0o644)
        path.write_bytes(
            whole[: len(whole) // 2] if damage == "truncated" else whole[:-1] + bytes([whole[-1] ^ 1])
        )

    def _other_base(self) -> str:
        return self.store.put_base(replace(self.spec, name="another", vocabulary=self.spec.vocabulary + 1))


def make_shelf(store: IndexStore, folder: Path, *, size: str, experts: int) -> Shelf:
    """A library of `experts` on a base of this size; nothing is published yet.

    Each cast leaves out another sixth of the experts, and in every other one an adapter has another release.
    """
    spec = found_library(store, LIBRARY, SHAPES[size], folder / "base")
    entries = [put_expert(store, spec, f"person{n % 7}/skill{n:03d}", seed=n) for n in range(experts)]
    newer = replace(put_expert(store, spec, entries[0].adapter, seed=experts), release="b" * 40)
    tokens = torch.randint(spec.vocabulary, NEUTRAL, generator=torch.Generator().manual_seed(5))
    neutral = store.put_neutral(tokens)

    def cast(number: int) -> IndexManifest:
        first = newer if number % 2 else entries[0]
        others = [entry for n, entry in enumerate(entries[1:]) if n < ALWAYS or n % CASTS != number]
        return manifest_of(spec.digest, [first, *others], policy=POLICY, calibration=neutral)

    key = Ed25519PrivateKey.generate()
    store.set_guest_key(LIBRARY, key.public_key().public_bytes_raw())
    guests = tuple(put_expert(store, spec, f"mara/secret{n}", seed=1000 + n) for n in range(GUESTS))
    return Shelf(store, spec, tuple(cast(number) for number in range(CASTS)), guests, key)
