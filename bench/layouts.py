"""How fast a base is in each layout of its weights, and in the one that the trial at a server's start takes.

python -m bench.layouts [--size 100M] [--files bfloat16] [--batches 1 8] [--prompt 256] [--repeats 20]

Steps of the serving engine without experts, in turn; the fastest of each counts. Then a few greedy answers, each
token of which is to be the one that the base says as it is stored, or the command fails.
"""

from __future__ import annotations

import argparse
import time
from copy import deepcopy
from typing import Any

import torch

from bench.engine import CONTEXT, phases, timed, tokens
from bench.models import FILES, SHAPES, as_base, as_published, llama
from bench.report import named, save, show
from bench.routed_vs_peft import CLOCKS
from routing.laying_out import lay_out, layouts_of
from routing.layouts import AUTO, LAYOUTS, Wanted
from routing.ragged import Strand
from routing.routed import RoutedModel
from routing.together import Reading, read_together

PROMPTS, ANSWER = 8, 32  # greedy answers that are compared, and their tokens


def main() -> None:
    """Lay copies of one base out in every way, let them take turns, print the table, write the figures."""
    given = _arguments().parse_args()
    torch.set_num_threads(given.threads)
    stored = as_published(llama(SHAPES[given.size]), FILES[given.files])
    models: dict[str, RoutedModel] = {}
    seconds: dict[str, float] = {}
    for name, wanted in [(AUTO, Wanted()), *((layout, Wanted(layout)) for layout in LAYOUTS)]:
        model = RoutedModel(as_base(deepcopy(stored)))
        if not model.reads_together:  # asking sets its attention to the engine's
            raise SystemExit("this base does not read together, so it has no step of the engine to measure")
        began = time.perf_counter()
        lay_out(model.base.model, wanted)
        models[name], seconds[name] = model, time.perf_counter() - began
    rows = [_row(name, prepared, models, given) for name, prepared in phases(given)]
    answers = {name: [_greedy(model, seed) for seed in range(PROMPTS)] for name, model in models.items()}
    if other := [name for name, found in answers.items() if found != answers["stored"]]:
        raise SystemExit(f"greedy answers are other ones than as stored: {', '.join(other)}")
    taken = layouts_of(models[AUTO].base.model)
    show(
        f"{given.size}, files of {given.files}: milliseconds of a step; the trial took {dict(taken)}",
        ["phase", *models, "stored / auto"],
        [
            [row["phase"], *(f"{row[name]:.1f}" for name in models), f"{row['stored'] / row[AUTO]:.2f}"]
            for row in rows
        ],
    )
    figures = {
        "size": given.size,
        "files": given.files,
        "clock": given.clock,
        "taken": taken,
        "lay_out_seconds": seconds,
        "rows": rows,
    }
    save(named("layouts", given, "size", "files"), figures)


def _row(
    name: str, prepared: Any, models: dict[str, RoutedModel], given: argparse.Namespace
) -> dict[str, Any]:
    steps = {layout: prepared(model, None) for layout, model in models.items()}
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(given.repeats):
        for layout, step in steps.items():
            best[layout] = min(best[layout], timed(step, CLOCKS[given.clock]))
    return {"phase": name, **{layout: seconds * 1e3 for layout, seconds in best.items()}}


def _greedy(model: RoutedModel, seed: int) -> list[int]:
    """The likeliest answer to a prompt of random tokens."""
    strand, answer, asked = Strand(), list[int](), tokens(CONTEXT, seed)
    for _ in range(ANSWER):
        (heard,) = read_together(model, [Reading(asked, strand, None)])
        answer.append(int(heard.logits[-1].argmax()))
        asked = (answer[-1],)
    return answer


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.layouts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--size", choices=SHAPES, default="100M")
    parser.add_argument("--files", choices=FILES, default="bfloat16", help="which numbers the weights are")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--prompt", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: beside busy neighbours")
    return parser


if __name__ == "__main__":
    main()
