"""What a busy process beside it costs whoever decodes, by threads and by how threads wait for each other.

python -m bench.neighbour [--size 100M] [--threads 1 2] [--seconds 10]

Threads of OpenMP that spin while they wait hold a core that a neighbour could use, and wait for the one of
them that the neighbour has put off. OMP_WAIT_POLICY=PASSIVE lets them sleep. It is read when torch is loaded,
so each row is a process of its own. Take the figures on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from bench.models import SHAPES, as_base, llama
from bench.report import save, show
from routing.laying_out import lay_out
from routing.ragged import Strand
from routing.routed import RoutedModel
from routing.together import Reading, read_together

WAITING = {"spinning": {}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}}
VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS")
WARM_UP = 5  # steps
CONTEXT = 64  # tokens that are read before a step is timed
BUSY = "while True: pass"


def main() -> None:
    """Each way of waiting and number of threads, alone and beside a busy process."""
    given = _arguments().parse_args()
    if given.decode:
        print(json.dumps(_decoded(given.size, given.threads[0], given.seconds)))
        return
    rows = [_row(given, threads, waiting) for threads in given.threads for waiting in WAITING]
    show(
        f"{given.size}: milliseconds of a decoded token, median (95th percentile)",
        ["threads", "alone", "beside a busy process"],
        [[row["name"], _said(row["alone"]), _said(row["beside"])] for row in rows],
    )
    save(f"neighbour-{given.size}", {"size": given.size, "seconds": given.seconds, "rows": rows})


def _row(given: argparse.Namespace, threads: int, waiting: str) -> dict[str, Any]:
    alone = _measured(given, threads, waiting)
    with _busy():
        beside = _measured(given, threads, waiting)
    return {"name": f"{threads}, {waiting}", "alone": alone, "beside": beside}


def _measured(given: argparse.Namespace, threads: int, waiting: str) -> dict[str, float]:
    """Decode in a process of its own, with these variables and none of the caller's."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = (sys.executable, "-m", "bench.neighbour", "--decode", "--size", given.size)
    said = subprocess.run(
        (*command, "--threads", str(threads), "--seconds", str(given.seconds)),
        env={**inherited, **WAITING[waiting]},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(said.stdout)
    return found


@contextlib.contextmanager
def _busy() -> Iterator[None]:
    """A process that wants a core for the length of the block."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _decoded(size: str, threads: int, seconds: float) -> dict[str, float]:
    """Milliseconds of a step that decodes one token."""
    torch.set_num_threads(threads)
    model = RoutedModel(as_base(llama(SHAPES[size])))
    lay_out(model.base.model)
    strand = Strand()
    read_together(model, [Reading(tuple(range(CONTEXT)), strand, None)])
    for _ in range(WARM_UP):
        read_together(model, [Reading((5,), strand, None)])
    steps, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.perf_counter()
        read_together(model, [Reading((5,), strand, None)])
        steps.append((time.perf_counter() - began) * 1e3)
        strand.length = CONTEXT  # every step reads as much as the first
    return {"median": statistics.median(steps), "p95": sorted(steps)[len(steps) * 95 // 100]}


def _said(found: dict[str, float]) -> str:
    return f"{found['median']:.1f} ({found['p95']:.1f})"


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.neighbour",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SHAPES, default="100M")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=10.0, help="of decoding, for each figure")
    parser.add_argument("--decode", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
