"""Loading experts, and the memory that they take: ours from an index store, peft's Arrow from adapter folders.

python -m bench.loading [--size 100M] [--experts 4 16 64] [--ours-alone 256]

Each figure comes from a process of its own, which has loaded the base before it begins: seconds until the first
token after a prompt of 128, and the most memory until then beyond what the base takes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import ArrowConfig, create_arrow_model

from bench.models import SHAPES, as_base, llama
from bench.report import save, show
from routing.adapter import Adapter, LowRank
from routing.base import Base
from routing.compiled import kernels
from routing.factors import expert_factors
from routing.index import ExpertEntry, RoutingPolicy, manifest_of
from routing.packing import load_pack
from routing.peak_memory import begin, peak_bytes
from routing.peft_folder import write_peft_folder
from routing.prototypes import routing_vectors
from routing.routed import RoutedModel
from routing.routes import Routing, route
from routing.sketches import loops
from routing.store import IndexStore, open_store

TOP_K = 2
RANK = 8
PROMPT = torch.arange(128).unsqueeze(0)
CPU = torch.device("cpu")


def main() -> None:
    """Write the experts once, load them in child processes, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    if given.child is not None:
        print(json.dumps(_measured(given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        counts = sorted({*given.experts, *given.ours_alone})
        _write(Path(folder), as_base(llama(SHAPES[given.size])), counts)
        rows = [_row(Path(folder), count, given) for count in counts]
    show(
        f"{given.size}, rank {RANK}: seconds to the first token, and MB beyond the base",
        ["experts", "ours, s", "ours, s an expert", "ours, MB", "peft, s", "peft, s an expert", "peft, MB"],
        [_line(row) for row in rows],
    )
    save(f"loading-{given.size}", {"size": given.size, "rank": RANK, "rows": rows})


def _write(folder: Path, base: Base, counts: Sequence[int]) -> None:
    """The same random experts in both forms; of ours the version of each number holds so many."""
    store, entries, chance = open_store(str(folder / "store")), [], torch.Generator().manual_seed(1)
    store.put_base(base.spec)
    for place in range(max(counts)):
        updates = {
            module.name: LowRank(
                torch.randn(RANK, module.d_in, generator=chance) * module.d_in**-0.5,
                torch.randn(module.d_out, RANK, generator=chance) * 0.02,
                1.0,
            )
            for module in base.spec.target_modules
        }
        adapter = Adapter(updates)
        write_peft_folder(_peft_folder(folder, place), adapter, base.spec, source="bench")
        factors = expert_factors(adapter)
        kept = store.put_expert(routing_vectors(factors), factors)
        entries.append(
            ExpertEntry(
                f"bench/e{place:04d}",
                "a" * 40,
                kept.vectors,
                kept.factors,
                kept.vectors_size,
                kept.factors_size,
            )
        )
    for count in counts:
        manifest = manifest_of(base.spec.digest, entries[:count], policy=RoutingPolicy("arrow", top_k=TOP_K))
        store.write_version("bench", count, manifest)


def _row(folder: Path, count: int, given: argparse.Namespace) -> dict[str, Any]:
    children = {"ours": _child(folder, "ours", count, given)}
    if count in given.experts:
        children["peft"] = _child(folder, "peft", count, given)
    return {"experts": count, **children}


def _child(folder: Path, who: str, count: int, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.loading", "--child", who, "--folder", str(folder)]
    options = ["--size", given.size, "--experts", str(count), "--threads", str(given.threads)]
    answer = subprocess.run([*command, *options], stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def _measured(given: argparse.Namespace) -> dict[str, float]:
    """What a child has to say of one way to load."""
    base = as_base(llama(SHAPES[given.size]))
    way = _ours if given.child == "ours" else _peft
    kernels()
    loops()  # what a compiler takes for itself is not the experts'
    with torch.inference_mode():
        base.model(PROMPT)  # nor what torch does
        begin(CPU)
        before, began = peak_bytes(CPU), time.perf_counter()
        way(base, given.folder, given.experts[0])
    return {"seconds": time.perf_counter() - began, "megabytes": (peak_bytes(CPU) - before) / 1e6}


def _ours(base: Base, folder: Path, count: int) -> None:
    store: IndexStore = open_store(str(folder / "store"))
    manifest = store.read_version("bench", count)
    pack = load_pack(store, manifest, base.spec, device=CPU, dtype=torch.float32)
    RoutedModel(base).logits(PROMPT, route=route(pack, Routing("arrow", TOP_K)))


def _peft(base: Base, folder: Path, count: int) -> None:
    paths = [str(_peft_folder(folder, place)) for place in range(count)]
    model: Any = create_arrow_model(base.model, paths, ArrowConfig(top_k=TOP_K, router_temperature=1.0))
    model.eval()(PROMPT)


def _peft_folder(folder: Path, place: int) -> Path:
    return folder / "peft" / f"e{place:04d}"


def _line(row: Mapping[str, Any]) -> list[str]:
    line = [str(row["experts"])]
    for who in ("ours", "peft"):
        found = row.get(who)
        line += ["-"] * 3 if found is None else _cells(found, row["experts"])
    return line


def _cells(found: Mapping[str, float], experts: int) -> list[str]:
    return [f"{found['seconds']:.1f}", f"{found['seconds'] / experts:.3f}", f"{found['megabytes']:.0f}"]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.loading",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SHAPES, default="100M")
    parser.add_argument("--experts", type=int, nargs="+", default=[4, 16, 64])
    parser.add_argument(
        "--ours-alone", type=int, nargs="*", default=[256], help="more, which peft takes minutes for"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", choices=["ours", "peft"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
