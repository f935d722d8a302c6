"""`fletch train-gate`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from fletch import bases, options, screen
from fletch.command import Outcome, computing
from fletch.command import command as make
from routing.checks.gates import GATE_FILE, RECORD_FILE

RECIPE = "otherwise as in docs/routing/phatgoose.md"


@make("train-gate")
@options.folder
@options.base(required=True)
@options.revision
@options.rows(required=True)
@options.device
@click.option("--steps", type=click.IntRange(1), help=f"How many; {RECIPE}.")
@click.option("--learning-rate", type=click.FloatRange(0, min_open=True), help=f"{RECIPE}.")
@click.option("--batch", type=click.IntRange(1), help=f"Rows that make one step; {RECIPE}.")
@click.option("--at-once", type=click.IntRange(1), help=f"Rows in memory together; {RECIPE}.")
@click.option("--seed", type=int, help=f"Of the order of rows; {RECIPE}.")
def command(
    *, folder: Path, base: str, revision: str | None, rows: Path, device: str | None, **recipe: float | None
) -> Outcome:
    """Train PHATGOOSE gates for the adapter in FOLDER on rows that never leave this machine.

    Base and adapter stay as they are, and are compared by digest. Two files are written beside the adapter:
    upload them with it, and the hub checks them like everything else.
    """
    gates = computing("routing.home_gates")
    wanted = replace(computing("routing.gates").GateRecipe(), **_said(recipe))
    loaded = bases.loaded(base, revision, device)
    with screen.steps("training gates") as report:
        trained = gates.trained_gates(loaded, folder, rows, wanted, report)
    files = [str(folder / name) for name in (GATE_FILE, RECORD_FILE)]
    return Outcome(_document(trained, files), _text(trained, files))


def _said(recipe: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in recipe.items() if value is not None}


def _document(trained: Any, files: list[str]) -> dict[str, Any]:
    return {
        "files": files,
        "modules": sorted(trained.gates),
        "rows": trained.rows,
        "best_step": trained.best_step,
        "curve": [asdict(point) for point in trained.curve],
        "seconds": trained.seconds,
        "peak_bytes": trained.peak_bytes,
    }


def _text(trained: Any, files: list[str]) -> str:
    lines = ["   step  training  held out   (nats per token)"]
    lines += [f"{p.step:>7}  {p.training:>8.3f}  {p.held_out:>8.3f}" for p in trained.curve]
    cost = f"{trained.seconds:.1f} s, {screen.size(trained.peak_bytes)}"
    lines += [f"kept: the gates of step {trained.best_step}; {cost}"]
    return "\n".join([*lines, f"written: {' and '.join(files)}, to be uploaded with the adapter"])
