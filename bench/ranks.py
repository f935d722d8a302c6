"""What mixed ranks and targets cost: a step with experts of ranks 4 to 64, each on every other module.

python -m bench.ranks [--size 100M] [--experts 16 256] [--batches 1 8] [--prompt 256] [--clock wall]

Beside it a step with half as many experts, of one rank, on every module: as many experts stand for election at
a module, and their rows are as many, so whatever is more is the price of their being different.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from bench.engine import RANK, TOP_K, phases, timed
from bench.models import SHAPES, as_base, llama, mixed_pack, random_pack
from bench.report import save, show
from bench.routed_vs_peft import CLOCKS
from routing.laying_out import lay_out
from routing.pack import Pack
from routing.routed import RoutedModel
from routing.routes import Routing, route

RANKS = (4, RANK, 16, 32, 64)


def main() -> None:
    """Measure every number of experts, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    model = RoutedModel(as_base(llama(SHAPES[given.size])))
    lay_out(model.base.model)
    rows = [row for count in given.experts for row in _rows(model, count, given)]
    show(
        f"{given.size}: milliseconds of a step, ranks {', '.join(map(str, RANKS))} on every other module "
        f"beside rank {_mean()} on all, top {TOP_K}",
        ["experts", "phase", "mixed, MB", "uniform, MB", "mixed", "uniform", "mixed / uniform"],
        [_line(row) for row in rows],
    )
    save(f"ranks-{given.size}", {"size": given.size, "clock": given.clock, "rows": rows})


def _rows(model: RoutedModel, count: int, given: argparse.Namespace) -> Sequence[dict[str, float | str]]:
    """One number of experts: both take turns at each phase; the fastest step of each counts."""
    spec = model.base.spec
    packs = {
        "mixed": mixed_pack(spec, count, ranks=RANKS),
        "uniform": random_pack(spec, count // 2, rank=_mean()),
    }
    rows: list[dict[str, float | str]] = []
    for name, prepared in phases(given):
        steps = {kind: prepared(model, route(pack, Routing("arrow", TOP_K))) for kind, pack in packs.items()}
        best = dict.fromkeys(steps, float("inf"))
        for _ in range(given.repeats):
            for kind, step in steps.items():
                best[kind] = min(best[kind], timed(step, CLOCKS[given.clock]))
        sizes = {f"{kind}_bytes": _bytes_of_factors(pack) for kind, pack in packs.items()}
        ms = {f"{kind}_ms": seconds * 1e3 for kind, seconds in best.items()}
        rows.append(
            {"experts": count, "phase": name, **sizes, **ms, "ratio": best["mixed"] / best["uniform"]}
        )
    return rows


def _mean() -> int:
    return round(sum(RANKS) / len(RANKS))


def _bytes_of_factors(pack: Pack) -> int:
    return sum(module.a.nbytes + module.b.nbytes for module in pack.modules.values())


def _line(row: dict[str, float | str]) -> list[str]:
    sizes = [f"{float(row[key]) / 1e6:.0f}" for key in ("mixed_bytes", "uniform_bytes")]
    ms = [f"{row[key]:.1f}" for key in ("mixed_ms", "uniform_ms")]
    return [str(row["experts"]), str(row["phase"]), *sizes, *ms, f"{row['ratio']:.2f}"]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.ranks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SHAPES, default="100M")
    parser.add_argument(
        "--experts", type=int, nargs="+", default=[20, 160], help="even; best a multiple of 10"
    )
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: beside busy neighbours")
    return parser


if __name__ == "__main__":
    main()
