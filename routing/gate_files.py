"""Gates beside their adapter: the two files that `fletch train-gate` writes and an upload may bring.

A gate travels as a row [1, d_in], as a linear layer with one output keeps its weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from routing.adapter import read_tensor
from routing.checks.gates import (
    CHECK,
    ENDING,
    GATE_FILE,
    RECORD_FILE,
    TRAIN_AGAIN,
    GateRecord,
    adapter_digest,
    base_digest,
    has_gates,
    module_of,
)
from routing.digests import canonical_json
from routing.errors import BadAdapter
from routing.finding import Finding
from routing.gates import GateRecipe, TrainedGates
from routing.pack import standardised
from routing.spec import BaseSpec
from routing.tensor_header import read_tensor_header

# A standardised gate that fewer entries than this carry compares one outlier of the hidden state, not a
# direction in it. Trained gates of 192 entries were carried by 27 or more (docs/routing/phatgoose.md).
FEWEST_ENTRIES = 3.0
SMALLEST_DEVIATION = 1e-12


def write_gates(directory: Path, trained: TrainedGates, recipe: GateRecipe, spec: BaseSpec) -> None:
    """Write gates and their record beside the adapter in `directory` that they were trained for."""
    record = GateRecord(
        base=base_digest(spec),
        adapter=adapter_digest(directory),
        rows=trained.rows,
        recipe=asdict(recipe),
        curve=tuple((point.step, point.training, point.held_out) for point in trained.curve),
        best_step=trained.best_step,
        seconds=trained.seconds,
        peak_bytes=trained.peak_bytes,
    )
    rows = {f"{name}{ENDING}": gate.float().reshape(1, -1) for name, gate in trained.gates.items()}
    (directory / GATE_FILE).write_bytes(save(rows))
    (directory / RECORD_FILE).write_bytes(canonical_json(record.to_json()) + b"\n")


def read_gates(directory: Path) -> dict[str, Float[Tensor, " d_in"]]:
    """The gates in this folder by module; BadAdapter if their file is not sound."""
    path = directory / GATE_FILE
    header = read_tensor_header(path)
    found = {module_of(name): entry for name, entry in header.tensors.items()}
    return {
        module: read_tensor(path, entry, header.data_start)[0]
        for module, entry in found.items()
        if module is not None
    }


def run_gate_checks(directory: Path) -> list[Finding]:
    """What is wrong with the numbers of the gates that an upload brings; what cannot be read is said by the
    static checks.
    """
    if not has_gates(directory):
        return []
    try:
        return list(degenerate_gates(read_gates(directory)))
    except (BadAdapter, FileNotFoundError):
        return []


def degenerate_gates(gates: Mapping[str, Float[Tensor, " d_in"]]) -> Iterator[Finding]:
    """Gates that standardising cannot make comparable: not finite, all entries equal, or one or two of them.

    One NaN makes every comparison wrong, a constant is a score of zero for every token, and a spike reads the
    hidden state's own outlier, which is large at every token (RELIABILITY D4).
    """
    for name, gate in gates.items():
        if not bool(gate.isfinite().all()):
            yield _error(name, "NaN or infinity", "finite numbers")
        elif float(gate.double().std(correction=0)) <= SMALLEST_DEVIATION:
            yield _error(name, "equal entries", "a direction")
        elif (carried := effective_entries(gate)) < FEWEST_ENTRIES:
            yield _error(name, f"{carried:.1f} entries that carry it", f"at least {FEWEST_ENTRIES:g}")


def effective_entries(gate: Float[Tensor, " d_in"]) -> float:
    """By how many entries a standardised gate is carried: its width over its kurtosis, 1 for a lone spike."""
    scaled = gate.double() / gate.double().abs().max()
    return float(len(gate) / standardised(scaled).pow(4).mean())


def _error(field: str, found: str, expected: str) -> Finding:
    return Finding(CHECK, "error", GATE_FILE, field, found, expected, TRAIN_AGAIN)
