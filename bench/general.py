"""`python -m bench.general`: what it costs to subtract general knowledge by an amount that was not asked for lately.

Seconds to work out what routers recognise the differences by: for the demonstration's library, and for experts of
rank 16 at one module of width 4096, per expert. The shared term itself costs what one expert costs.
"""

from __future__ import annotations

import statistics
import time

import torch

from bench.report import save, show
from demo.tasks import BASE, TASKS
from routing.adapter import LowRank, read_adapter
from routing.base import load_base
from routing.factors import canonical, expert_factors
from routing.general import differences
from routing.pack import Pack
from routing.packing import pack_experts
from routing.spec import BaseSpec, TargetModule

WIDTH, RANK, EXPERTS = 4096, 16, 8
AMOUNTS = (0.25, 0.5, 0.75)


def demonstration() -> tuple[Pack, str]:
    """The library that is shipped, one of its experts taken for general."""
    base = load_base(BASE)
    experts = {
        task.adapter: expert_factors(read_adapter(task.adapter_directory, base.spec)) for task in TASKS
    }
    return pack_experts(experts, base.spec, device=base.device, dtype=base.dtype), "amina/past-tense"


def wide() -> tuple[Pack, str]:
    """Experts with random updates at one wide module."""
    spec = BaseSpec("wide", "", None, "", "", "", 1, 1, (TargetModule("m", "linear", WIDTH, WIDTH, 1.0),))
    draw = torch.Generator().manual_seed(0)
    experts = {
        f"expert/{number}": {
            "m": canonical(
                LowRank(
                    torch.randn(RANK, WIDTH, generator=draw), torch.randn(WIDTH, RANK, generator=draw), 1.0
                )
            )
        }
        for number in range(EXPERTS)
    }
    return pack_experts(experts, spec, device=torch.device("cpu"), dtype=torch.float32), "expert/0"


def seconds(pack: Pack, general: str) -> float:
    """The median over amounts, each asked for once."""
    taken = []
    for amount in AMOUNTS:
        began = time.perf_counter()
        differences(pack, [general], amount)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    """Both, side by side."""
    rows, figures = [], {}
    for name, (pack, general) in {"the demonstration": demonstration(), f"width {WIDTH}": wide()}.items():
        found, parts = seconds(pack, general), sum(len(module) for module in pack.modules.values())
        figures[name] = {"experts": len(pack.experts), "modules": len(pack.modules), "seconds": found}
        each = f"{1e3 * found / parts:.1f}"
        rows.append([name, str(len(pack.experts)), str(len(pack.modules)), f"{found:.3f}", each])
    columns = ["library", "experts", "modules", "s for a new amount", "ms per expert and module"]
    show("General knowledge subtracted by another amount", columns, rows)
    save("general", figures)


if __name__ == "__main__":
    main()
