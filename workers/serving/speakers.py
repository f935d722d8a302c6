"""Which experts answer, for Prometheus: a bounded number of names, and how widely answers are spread."""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

from routing.traces import Shares

BITS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
PARTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
OTHERS = "(others)"  # no adapter is called so: a name has an owner and a slash
PRIVATE = "(private)"


class Speakers:
    """What the experts of each library have said.

    The first `most` experts of a library that speak are counted by name, those that come later together.
    Private experts are never named.
    """

    def __init__(self, registry: CollectorRegistry, most: int) -> None:
        self._most = most
        self._named: dict[str, set[str]] = {}
        self._lock = threading.Lock()
        self._hits = Counter(
            "fletch_expert_hits",
            "Pairs of a token and a module at which an expert was chosen",
            ["library", "expert"],
            registry=registry,
        )
        self._weight = Counter(
            "fletch_expert_weight",
            "Sum of an expert's mixing weights over pairs of a token and a module",
            ["library", "expert"],
            registry=registry,
        )
        self._bits = Histogram(
            "fletch_routing_entropy_bits",
            "How widely the mixing weight of an answer is spread over the experts",
            ["library"],
            buckets=BITS,
            registry=registry,
        )
        self._part = Histogram(
            "fletch_routing_entropy_ratio",
            "The same, as a part of the most that as many experts allow",
            ["library"],
            buckets=PARTS,
            registry=registry,
        )

    def heard(self, library: str, shares: Iterable[Shares], private: Collection[str], experts: int) -> None:
        """Answers have ended: what was said in each, by a version with so many experts."""
        for one in shares:
            with self._lock:
                for name, said in one.spoken().items():
                    labels = (library, PRIVATE if name in private else self._name(library, name))
                    self._hits.labels(*labels).inc(said.hits)
                    self._weight.labels(*labels).inc(said.weight)
            bits = one.entropy()
            if bits is not None:
                self._bits.labels(library).observe(bits)
                self._part.labels(library).observe(bits / math.log2(experts) if experts > 1 else 0.0)

    def forget(self, library: str, present: Collection[str]) -> None:
        """Another version is served: whoever is not in it gives up its name to others."""
        with self._lock:
            named = self._named.get(library, set())
            for name in named - set(present):
                named.remove(name)
                for counter in (self._hits, self._weight):
                    counter.remove(library, name)

    def _name(self, library: str, expert: str) -> str:
        named = self._named.setdefault(library, set())
        if expert not in named and len(named) < self._most:
            named.add(expert)
        return expert if expert in named else OTHERS
