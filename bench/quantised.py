"""Merged checkpoints in 8 and 4 bits: how large they are, and how far from the one in the base's own numbers.

python -m bench.quantised [--size 100M]

The mean of the demonstration's 13 adapters in its base, which was trained; and of 4 random experts in a base of
random weights in bfloat16, of which the sizes mean something and the differences little.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.models import SHAPES
from bench.report import named, save, show
from bench.stored import LIBRARY, stored
from demo.tasks import BASE, TASKS
from routing.adapter import read_adapter
from routing.base import load_base
from routing.checkpoint import Source
from routing.export import write_merged
from routing.factors import expert_factors
from routing.notebook import library_source, publish
from routing.store import open_store

COLUMNS = ("base", "bits", "MB", "of whole", "KL, nats", "largest", "same next")


def main() -> None:
    """Write each base's merge in its own numbers and in fewer, print what was measured of them."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = _rows("quill-2m", _quill(root / "quill"), root)
        rows += _rows(given.size, _random(root / "random", given.size), root)
    show("Merged weights in fewer bits", COLUMNS, [_line(row) for row in rows])
    save(named("quantised", given, "size"), {"rows": rows})


def _quill(folder: Path) -> Source:
    base, store = load_base(BASE), open_store(str(folder))
    experts = {
        task.adapter: expert_factors(read_adapter(task.adapter_directory, base.spec)) for task in TASKS
    }
    publish(store, LIBRARY, base, experts)
    return library_source(store, LIBRARY)


def _random(folder: Path, size: str) -> Source:
    library = stored(folder, size=size, experts=4, rank=8, top_k=2, dtype=torch.bfloat16)
    return library_source(open_store(str(library.store)), LIBRARY)


def _rows(name: str, source: Source, root: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for bits in (None, 8, 4):
        target = root / f"{name}-{bits}"
        write_merged(target, source, bits=bits)
        size = sum(path.stat().st_size for path in target.glob("*.safetensors"))
        told = json.loads((target / "fletch.json").read_text()).get("quantised", {})
        share = size / (found[0]["bytes"] if found else size)
        found.append({**told, "base": name, "bytes": size, "share": share})
    return found


def _line(row: dict[str, Any]) -> list[str]:
    off = row.get("difference")
    said = ["", "", ""]
    if off is not None:
        said = [f"{off['kl_mean']:.2g}", f"{off['kl_largest']:.2g}", f"{off['same_likeliest']:.1%}"]
    group = f" by {row['group']}" if row.get("group") else ""
    bits = f"{row['bits']}{group}" if off is not None else "its own"
    return [
        row["base"],
        bits,
        f"{row['bytes'] / 1e6:.1f}",
        f"{row['share']:.0%}",
        *said,
    ]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.quantised", description=__doc__)
    parser.add_argument("--size", choices=sorted(SHAPES), default="100M", help="of the random base")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
