"""`fletch train-gate`: gates for an adapter, trained where its rows are; only the gates need to leave.

The same code as the hub's workers run, with its own assertion that base and adapter stay as they are.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from routing.adapter import read_adapter
from routing.base import Base, load_base
from routing.checks.gates import GATE_FILE, RECORD_FILE, adapter_digest
from routing.checks.samples import parse_samples
from routing.errors import BadAdapter, RoutingError
from routing.factors import expert_factors
from routing.frozen import FrozenChanged
from routing.gate_files import write_gates
from routing.gates import GateRecipe, TrainedGates, train_gates
from routing.rows import Row, encoded_rows
from routing.spec import BaseRef
from routing.training import BadRows
from routing.weights import layers_of

DEFAULTS = GateRecipe()


class NothingLearnt(RoutingError):
    """No gate was better on held-out rows than the expert at half strength, so none was written."""


def main(arguments: Sequence[str]) -> None:
    """Train and write; RoutingError if base, adapter or rows are not what they should be."""
    options = parser().parse_args(arguments)
    base = load_base(BaseRef(options.base, options.revision), device=options.device)
    trained = trained_gates(base, options.adapter, options.rows, recipe_of(options))
    _say(f"written: {options.adapter / GATE_FILE} and {RECORD_FILE}, to be uploaded with the adapter")
    _say(_summary(trained))


def trained_gates(base: Base, adapter: Path, rows: Path, recipe: GateRecipe) -> TrainedGates:
    """Train the gates of the PEFT folder `adapter` on `rows` and write them beside it.

    Raises BadAdapter, BadRows, NothingLearnt; FrozenChanged if the folder's files are others afterwards.
    """
    factors = expert_factors(read_adapter(adapter, base.spec), layers_of(base))
    before = adapter_digest(adapter)
    _say(f"training gates at {len(factors)} modules on {base.device}")
    trained = train_gates(base, factors, read_rows(base, rows), recipe=recipe, progress=_progress)
    if trained.best_step == 0:
        raise NothingLearnt(f"{rows}: {NothingLearnt.__doc__}")
    if adapter_digest(adapter) != before:
        raise FrozenChanged(f"{adapter}: its files changed while its gates were trained")
    write_gates(adapter, trained, recipe, base.spec)
    return trained


def read_rows(base: Base, path: Path) -> list[Row]:
    """The rows of a JSONL file in the base's tokens; BadRows with everything that is wrong with it."""
    if not path.is_file():
        raise BadRows(f"{path}: no such file")
    samples, findings = parse_samples(path.read_bytes())
    if findings:
        raise BadAdapter(findings)
    return encoded_rows(base, samples)


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(
        prog="fletch train-gate",
        description="Train PHATGOOSE gates for an adapter; base and adapter stay as they are, and are "
        "compared by digest.",
    )
    options.add_argument("adapter", type=Path, help="the folder that PEFT's save_pretrained wrote")
    options.add_argument("--base", required=True, help="the base model: a folder, or a Hugging Face id")
    options.add_argument("--revision", help="of a Hugging Face id")
    options.add_argument(
        "--rows", type=Path, required=True, help='JSON lines of {"prompt", "completion"} or {"messages"}'
    )
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--steps", type=int, default=DEFAULTS.steps)
    options.add_argument("--learning-rate", type=float, default=DEFAULTS.learning_rate)
    options.add_argument("--batch", type=int, default=DEFAULTS.batch, help="rows that make one step")
    options.add_argument("--at-once", type=int, default=DEFAULTS.at_once, help="rows in memory together")
    options.add_argument("--seed", type=int, default=DEFAULTS.seed)
    return options


def recipe_of(options: argparse.Namespace) -> GateRecipe:
    """The paper's recipe with what was said in its place."""
    return GateRecipe(
        steps=options.steps,
        learning_rate=options.learning_rate,
        batch=options.batch,
        at_once=options.at_once,
        seed=options.seed,
    )


def _progress(done: int, total: int, note: str) -> None:
    _say(f"step {done} of {total}: {note}")


def _summary(trained: TrainedGates) -> str:
    lines = ["", "   step  training  held out   (nats per token)"]
    lines += [f"{p.step:>7}  {p.training:>8.3f}  {p.held_out:>8.3f}" for p in trained.curve]
    cost = f"{trained.seconds:.1f} s, {trained.peak_bytes / 2**20:.0f} MiB"
    return "\n".join([*lines, f"kept: the gates of step {trained.best_step}; {cost}"])


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
