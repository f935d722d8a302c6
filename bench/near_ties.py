"""What float32 rounding alone changes in a composed model: nothing to speak of, but for near ties of experts.

python -m bench.near_ties [--size small] [--experts 16 256] [--prompts 32]

Prompts are read in float64, and in float32 as weights are stored and in panels, whose sums run in another
order. At each position the log p of the likeliest token is compared: apart for where all modules chose the same
experts up to there, and for where one did not.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.beside_vllm import drawn_prompts
from bench.models import SHAPES
from bench.report import save, show
from bench.stored import LIBRARY, Stored, stored
from routing.base import load_base
from routing.laying_out import lay_out
from routing.layouts import Layout, Wanted
from routing.packing import load_pack
from routing.routed import RoutedModel
from routing.routes import Routing, route
from routing.store import open_store
from routing.traces import Record

RANK, TOP_K = 8, 2
WAYS: dict[str, tuple[torch.dtype, Layout]] = {
    "float64": (torch.float64, "stored"),
    "stored": (torch.float32, "stored"),
    "panels": (torch.float32, "panels"),
}


@dataclass(frozen=True)
class Read:
    """One prompt as it was read: log p of the likeliest token behind each position, and who was chosen there."""

    tokens: Int[Tensor, " positions"]
    log_p: Float[Tensor, " positions"]
    chosen: Int[Tensor, "positions modules k"]


@dataclass
class Compared:
    """Two ways of reading the same prompts."""

    positions: int = 0
    chosen_otherwise: int = 0
    same_choices: float = 0.0
    other_choices: float = 0.0
    other_tokens: int = 0

    def add(self, one: Read, other: Read) -> None:
        """Count one prompt. Behind another choice everything that attends to it differs too."""
        differs = (one.chosen != other.chosen).flatten(1).any(1)
        behind = differs.cumsum(0) > 0
        off = (one.log_p - other.log_p).abs()
        self.positions += len(off)
        self.chosen_otherwise += int(differs.sum())
        self.same_choices = max(self.same_choices, _most(off[~behind]))
        self.other_choices = max(self.other_choices, _most(off[behind]))
        self.other_tokens += int((one.tokens != other.tokens).sum())


def main() -> None:
    """Read the prompts in each way for each number of experts, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(1)
    prompts = drawn_prompts(given.prompts, SHAPES[given.size].vocabulary, seed=3)
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for experts in given.experts:
            library = stored(
                Path(folder) / str(experts), size=given.size, experts=experts, rank=RANK, top_k=TOP_K
            )
            rows[experts] = _compared({way: list(_read(library, way, prompts)) for way in WAYS})
    show(
        f"{given.size}: largest difference of log p",
        ["experts, ways", "positions", "chosen otherwise", "same choices", "behind another", "other tokens"],
        [
            _line(f"{experts}, {names}", found)
            for experts, row in rows.items()
            for names, found in row.items()
        ],
    )
    figures = {
        str(experts): {names: vars(found) for names, found in row.items()} for experts, row in rows.items()
    }
    save(f"near_ties-{given.size}", {"prompts": given.prompts, "rows": figures})


def _compared(ways: dict[str, list[Read]]) -> dict[str, Compared]:
    rows = {}
    for one, other in combinations(ways, 2):
        found = rows[f"{one} and {other}"] = Compared()
        for pair in zip(ways[one], ways[other], strict=True):
            found.add(*pair)
    return rows


@torch.inference_mode()
def _read(library: Stored, way: str, prompts: Sequence[Sequence[int]]) -> Iterator[Read]:
    dtype, layout = WAYS[way]
    store = open_store(str(library.store))
    manifest = store.read_version(LIBRARY, 1)
    spec = store.read_base(manifest.base)
    base = load_base(str(library.base), spec=spec, dtype=dtype)
    model = RoutedModel(base)
    lay_out(base.model, Wanted(layout))
    pack = load_pack(store, manifest, spec, device=base.devices, dtype=dtype)
    taken = route(pack, Routing("arrow", TOP_K))
    for prompt in prompts:
        record = Record(pack)
        logits = model.logits(torch.tensor([prompt]), route=taken, witness=record)[0]
        likeliest = logits.double().log_softmax(-1).max(-1)
        chosen = record.side_by_side.experts.unflatten(1, (-1, TOP_K)).sort(-1).values
        yield Read(likeliest.indices, likeliest.values, chosen)


def _most(off: Float[Tensor, " some"]) -> float:
    return float(off.max()) if len(off) else 0.0


def _line(name: str, found: Compared) -> list[str]:
    counts = (found.positions, found.chosen_otherwise)
    largest = (found.same_choices, found.other_choices)
    return [name, *map(str, counts), *(f"{one:.1e}" for one in largest), str(found.other_tokens)]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.near_ties", description=__doc__)
    parser.add_argument("--size", choices=sorted(SHAPES), default="small")
    parser.add_argument("--experts", type=int, nargs="+", default=[16, 256])
    parser.add_argument("--prompts", type=int, default=32)
    return parser


if __name__ == "__main__":
    main()
