"""Gates for an adapter, trained where its rows are; only the gates need to leave.

The same code as the hub's workers run, with its own assertion that base and adapter stay as they are.
"""

from __future__ import annotations

from pathlib import Path

from routing.adapter import read_adapter
from routing.base import Base
from routing.checks.gates import adapter_digest
from routing.checks.samples import parse_samples
from routing.errors import BadAdapter, RoutingError
from routing.factors import expert_factors
from routing.frozen import FrozenChanged
from routing.gate_files import write_gates
from routing.gates import GateRecipe, TrainedGates, train_gates
from routing.rows import Row, encoded_rows
from routing.training import BadRows, Progress
from routing.weights import layers_of


class NothingLearnt(RoutingError):
    """No gate was better on held-out rows than the expert at half strength, so none was written."""


def trained_gates(
    base: Base, adapter: Path, rows: Path, recipe: GateRecipe, progress: Progress
) -> TrainedGates:
    """Train the gates of the PEFT folder `adapter` on `rows` and write them beside it.

    Raises BadAdapter, BadRows, NothingLearnt; FrozenChanged if the folder's files are others afterwards.
    """
    factors = expert_factors(read_adapter(adapter, base.spec), layers_of(base))
    before = adapter_digest(adapter)
    trained = train_gates(base, factors, read_rows(base, rows), recipe=recipe, progress=progress)
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
