"""What it costs to publish one more expert, and to open the version, when the library holds 10, 1,000 or 10,000.

python -m bench.publish [--experts 10 1000 10000] [--repeats 5]

The experts are small and synthetic (4 modules, 64 wide, rank 4): the question is what grows with their number, not with their size.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from routing.factors import Factors
from routing.index import ExpertEntry, IndexManifest, manifest_of
from routing.prototypes import RoutingVector
from routing.spec import BaseSpec, TargetModule
from routing.store import IndexStore, open_store

MODULES, WIDTH, RANK = 4, 64, 4
T = TypeVar("T")
RESULT = Path("bench/results/publish.json")


@dataclass(frozen=True)
class Cost:
    """Medians over the repeats; bytes are what the publication wrote beside the expert itself."""

    experts: int
    put_expert_ms: float
    expert_bytes: int
    publish_ms: float
    index_bytes: int
    library_bytes: int
    open_manifest_s: float
    read_all_vectors_s: float


def base_spec() -> BaseSpec:
    modules = tuple(TargetModule(f"layers.{i}.q_proj", "linear", WIDTH, WIDTH, 1.0) for i in range(MODULES))
    digest = "0" * 64
    return BaseSpec("bench", "Bench", None, digest, digest, digest, 1000, 128, modules)


def put_synthetic_expert(store: IndexStore, number: int) -> ExpertEntry:
    """A random expert in canonical form: orthonormal rows of `a`, falling singular values."""
    seed = torch.Generator().manual_seed(number)
    sigma = torch.linspace(1, 0.5, RANK)
    factors, vectors = {}, {}
    for module in base_spec().target_modules:
        a = torch.linalg.qr(torch.randn(WIDTH, RANK, generator=seed)).Q.T.contiguous()
        b = torch.linalg.qr(torch.randn(WIDTH, RANK, generator=seed)).Q * sigma
        factors[module.name] = Factors(a, b, sigma)
        vectors[module.name] = RoutingVector(a[0], sigma.clone())
    stored = store.put_expert(vectors, factors)
    return ExpertEntry(f"person{number:05d}/adapter", f"{number:040x}", **asdict(stored))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def publish(store: IndexStore, number: int, base: str, entries: list[ExpertEntry]) -> None:
    store.write_version("bench", number, manifest_of(base, entries))
    store.set_current("bench", number)


def read_all_vectors(store: IndexStore, manifest: IndexManifest) -> int:
    return sum(len(store.read_vectors(entry)) for entry in manifest.experts)


def measure(count: int, repeats: int) -> Cost:
    """Build a library of `count` experts at once, then publish one more, `repeats` times."""
    with tempfile.TemporaryDirectory() as folder:
        store, root = open_store(folder), Path(folder)
        base = store.put_base(base_spec())
        entries = [
            put_synthetic_expert(store, n) for n in track(range(count), f"{count:,} experts", transient=True)
        ]
        publish(store, 1, base, entries)
        puts, publications, grown = [], [], []
        for extra in range(repeats):
            seconds, entry = timed(partial(put_synthetic_expert, store, count + extra))
            puts.append(seconds)
            entries.append(entry)
            before = size_of(root)
            publications.append(timed(partial(publish, store, extra + 2, base, entries))[0])
            grown.append(size_of(root) - before)
        opening, manifest = timed(partial(store.read_version, "bench", repeats + 1))
        return Cost(
            experts=count,
            put_expert_ms=round(1000 * statistics.median(puts), 2),
            expert_bytes=entry.vectors_size + entry.factors_size,
            publish_ms=round(1000 * statistics.median(publications), 2),
            index_bytes=int(statistics.median(grown)),
            library_bytes=size_of(root),
            open_manifest_s=round(opening, 4),
            read_all_vectors_s=round(timed(partial(read_all_vectors, store, manifest))[0], 3),
        )


def table_of(costs: list[Cost]) -> Table:
    table = Table(title="One more expert")
    for heading in (
        "experts",
        "put expert ms",
        "its bytes",
        "publish ms",
        "index bytes written",
        "whole library MB",
        "open s",
        "read all vectors s",
    ):
        table.add_column(heading, justify="right")
    for c in costs:
        table.add_row(
            f"{c.experts:,}",
            f"{c.put_expert_ms}",
            f"{c.expert_bytes:,}",
            f"{c.publish_ms}",
            f"{c.index_bytes:,}",
            f"{c.library_bytes / 1e6:.1f}",
            f"{c.open_manifest_s}",
            f"{c.read_all_vectors_s}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--experts", type=int, nargs="+", default=[10, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    costs = [measure(count, options.repeats) for count in options.experts]
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps([asdict(cost) for cost in costs], indent=2) + "\n", encoding="utf-8")
    Console(width=150).print(table_of(costs))


if __name__ == "__main__":
    main()
