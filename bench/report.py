"""How every bench reports: a table to read, and the same figures as JSON in bench/results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
FILE_WIDTH = 140  # of tables that go to a file


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; the first column is text, the others are numbers."""
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else FILE_WIDTH).print(table)


def named(bench: str, given: argparse.Namespace, *options: str) -> str:
    """A name of its own for each kind of run, by these options of it: a later run takes the place of its own kind alone.

    A number stands behind its option, a word for itself; what was not asked for is left out.
    """
    return "-".join([bench, *(word for option in options for word in _words(option, getattr(given, option)))])


def _words(option: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    if isinstance(value, list):
        return [word for one in value for word in _words(option, one)]
    return [value if isinstance(value, str) else f"{option}{value}"]


def save(name: str, figures: Mapping[str, Any]) -> Path:
    """Write the figures with what they were taken on."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    machine = {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 1),
    }
    path.write_text(json.dumps({"machine": machine, **figures}, indent=2, sort_keys=True) + "\n")
    Console().print(f"written to bench/results/{path.name}")
    return path
