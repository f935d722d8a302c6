"""Gates that come with an upload: sound and of this adapter, or a finding for each thing that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from routing.adapter import read_adapter
from routing.checks.gates import GATE_FILE, RECORD_FILE, read_record
from routing.checks.static import run_static_checks
from routing.factors import expert_factors
from routing.gate_files import effective_entries, read_gates, run_gate_checks, write_gates
from routing.gates import GateRecipe, TrainedGates
from routing.training import Point
from tests.routing.checks.uploads import FIRST, good_upload, set_config, spec

MODULE = FIRST.removeprefix("base_model.model.")
GATE = f"{MODULE}.gate"


@pytest.fixture
def upload(tmp_path: Path) -> Path:
    """A good adapter with good gates."""
    good_upload(tmp_path)
    draw = torch.Generator().manual_seed(0)
    modules = expert_factors(read_adapter(tmp_path, spec()))
    gates = {name: torch.randn(factors.a.shape[1], generator=draw) for name, factors in modules.items()}
    curve = (Point(0, 2.0, 2.0), Point(10, 1.0, 1.5))
    trained = TrainedGates(gates=gates, curve=curve, best_step=10, rows=40, seconds=1.5, peak_bytes=1000)
    write_gates(tmp_path, trained, GateRecipe(), spec())
    return tmp_path


def complaints(upload: Path) -> list[tuple[str, str, str]]:
    found = [*run_static_checks(upload, spec()), *run_gate_checks(upload)]
    return [(finding.file, finding.field, finding.found) for finding in found]


def test_what_was_written_is_read_and_passes(upload: Path) -> None:
    record, gates = read_record(upload), read_gates(upload)

    assert complaints(upload) == []
    assert record.curve == ((0, 2.0, 2.0), (10, 1.0, 1.5))
    assert record.recipe["steps"] == 100
    assert (record.rows, record.best_step) == (40, 10)
    assert gates.keys() == expert_factors(read_adapter(upload, spec())).keys()


def test_an_adapter_without_gates_is_no_worse(tmp_path: Path) -> None:
    assert complaints(good_upload(tmp_path)) == []


def edit_gates(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def spoil(upload: Path) -> None:
        gates = load_file(upload / GATE_FILE)
        change(gates)
        save_file(gates, upload / GATE_FILE)

    return spoil


def edit_record(**changes: Any) -> Callable[[Path], object]:
    def spoil(upload: Path) -> None:
        path = upload / RECORD_FILE
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def put(name: str, value: torch.Tensor) -> Callable[[Path], object]:
    return edit_gates(lambda gates: gates.__setitem__(name, value))


SPIKE = torch.eye(32)[:1] * 1e4
SPOILT: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no record": (lambda upload: (upload / RECORD_FILE).unlink(), RECORD_FILE, "no such file"),
    "no gates": (lambda upload: (upload / GATE_FILE).unlink(), GATE_FILE, "no such file"),
    "no bytes": (lambda upload: (upload / GATE_FILE).write_bytes(b""), GATE_FILE, "a header of 0 bytes"),
    "no JSON": (lambda upload: (upload / RECORD_FILE).write_text("{"), RECORD_FILE, "Expecting"),
    "a long record": (edit_record(recipe={"x": "y" * 300_000}), RECORD_FILE, "bytes"),
    "a field too many": (edit_record(more=1), RECORD_FILE, "the fields"),
    "rows that are no number": (edit_record(rows="many"), RECORD_FILE, "another shape"),
    "a nested recipe": (edit_record(recipe={"a": {}}), RECORD_FILE, "another shape"),
    "a curve of pairs": (edit_record(curve=[[1, 2]]), RECORD_FILE, "another shape"),
    "another base": (edit_record(base="0" * 64), RECORD_FILE, "000000000000"),
    "another adapter": (edit_record(adapter="1" * 64), RECORD_FILE, "111111111111"),
    "another alpha": (set_config(lora_alpha=16), RECORD_FILE, ""),
    "another width": (put(GATE, torch.randn(1, 31)), GATE_FILE, "shape [1, 31]"),
    "two rows": (put(GATE, torch.randn(2, 32)), GATE_FILE, "shape [2, 32]"),
    "no module": (put("model.layers.7.gate", torch.randn(1, 32)), GATE_FILE, "no module of the base"),
    "no gate's name": (put(f"{MODULE}.weight", torch.randn(1, 32)), GATE_FILE, "no module of the base"),
    "NaN": (put(GATE, torch.full((1, 32), torch.nan)), GATE_FILE, "NaN or infinity"),
    "a zero": (put(GATE, torch.zeros(1, 32)), GATE_FILE, "equal entries"),
    "a constant": (put(GATE, torch.full((1, 32), 7.0)), GATE_FILE, "equal entries"),
    "a spike": (put(GATE, SPIKE), GATE_FILE, "1.1 entries that carry it"),
    "doubles": (put(GATE, torch.randn(1, 32).double()), GATE_FILE, "dtype F64"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_each_wrong_thing_is_a_finding(upload: Path, name: str) -> None:
    spoil, file, found = SPOILT[name]

    spoil(upload)

    assert any(where == file and found in said for where, _field, said in complaints(upload))


def test_gates_of_a_module_that_the_adapter_leaves_alone_are_named(tmp_path: Path, upload: Path) -> None:
    other = "model.layers.0.self_attn.q_proj"
    tensors = load_file(upload / "adapter_model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if f".{other}." not in name}
    save_file(kept, upload / "adapter_model.safetensors")

    assert (GATE_FILE, f"{other}.gate", "a module that the adapter leaves alone") in complaints(upload)


def test_a_direction_is_carried_by_many_entries_and_a_spike_by_one() -> None:
    gate = torch.randn(512, generator=torch.Generator().manual_seed(0))
    spike = gate.clone()
    spike[3] = 1e6

    assert effective_entries(gate) > 100
    assert effective_entries(gate * 1e30) == pytest.approx(effective_entries(gate))
    assert effective_entries(spike) < 1.1
