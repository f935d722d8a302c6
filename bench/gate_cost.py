"""`python -m bench.gate_cost`: what training an expert's gates costs, and what each saving is worth.

Seconds for a few steps of the recipe in three ways: `plain` pads rows in the order they are drawn in, computes
every layer at every step and every logit; `trimmed` computes only the logits that are needed, over rows of like
length; `cached`, which is what workers do, also keeps what the layers below the first gate say of each row.
Then the peak memory of the first and the last way, and the largest difference between their gates.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from bench.report import save, show
from demo.tasks import BASE, TASKS
from routing import completion_loss, frozen_prefix, training
from routing.adapter import read_adapter
from routing.base import Base, load_base, target_layers, widths
from routing.checks.samples import parse_samples
from routing.factors import Factors, expert_factors
from routing.gates import GateRecipe, TrainedGates, train_gates
from routing.rows import Row, encoded_rows
from routing.spec import BaseRef, BaseSpec, TargetModule

VOCABULARY, CONTEXT, WIDTH, LAYERS = 8192, 256, 384, 12


@dataclass(frozen=True)
class Case:
    """A base, an expert on it and the rows that its gates are trained on."""

    name: str
    base: Base
    expert: Mapping[str, Factors]
    rows: Sequence[Row]
    recipe: GateRecipe


def shipped(adapter: str, steps: int) -> Case:
    """One of the demonstration's."""
    base = load_base(BaseRef(str(BASE)))
    task = next(task for task in TASKS if task.adapter == adapter)
    expert = expert_factors(read_adapter(task.adapter_directory, base.spec))
    rows = encoded_rows(base, parse_samples(task.samples_path.read_bytes())[0])
    first = min(int(name.split(".")[2]) for name in expert)
    return Case(f"quill-2m, {adapter}, from layer {first}", base, expert, rows, GateRecipe(steps=steps))


def random_base(first: int, steps: int) -> Case:
    """A base of GPT-2's architecture with random weights, an expert of rank 8 from a layer on, rows of 16 to 64 tokens."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=CONTEXT, n_embd=WIDTH, n_layer=LAYERS, n_head=6)
    model = GPT2LMHeadModel(config).eval()
    model.requires_grad_(requires_grad=False)
    layers = dict(target_layers(model))
    modules = tuple(TargetModule(name, "conv1d", *widths(layer), 1.0) for name, layer in layers.items())
    spec = BaseSpec("random", "GPT2LMHeadModel", None, "", "", "", VOCABULARY, CONTEXT, modules)
    base = Base(spec, model, None, torch.device("cpu"), torch.float32, BaseRef("random"))
    draw = torch.Generator().manual_seed(1)
    chosen = [module for module in modules if int(module.name.split(".")[2]) >= first]
    expert = {module.name: _factors(module, draw) for module in chosen}
    lengths = torch.randint(16, 65, (12,), generator=draw).tolist()
    rows: list[Row] = [
        (torch.randint(20, 8000, (length - 8,), generator=draw).tolist(), [5, 6, 7, 8, 9, 10, 11, 12])
        for length in lengths
    ]
    recipe = GateRecipe(steps=steps, batch=8, at_once=8)
    return Case(f"{LAYERS} layers of width {WIDTH}, from layer {first}", base, expert, rows, recipe)


def _factors(module: TargetModule, draw: torch.Generator) -> Factors:
    a = torch.linalg.qr(torch.randn(module.d_in, 8, generator=draw)).Q.T.contiguous()
    b = torch.randn(module.d_out, 8, generator=draw) * 0.05
    return Factors(a, b, torch.linalg.vector_norm(b, dim=0))


@contextlib.contextmanager
def uncached() -> Iterator[None]:
    """Every layer at every step."""
    with patch.object(frozen_prefix, "MOST_BYTES", 0):
        yield


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """Without anything that makes it cheaper."""

    def as_drawn(rows: Sequence[Row], at_once: int) -> Any:
        return (rows[start : start + at_once] for start in range(0, len(rows), at_once))

    with (
        uncached(),
        patch.object(completion_loss, "_trims_logits", lambda _model: False),
        patch.object(completion_loss, "parts_by_length", as_drawn),
        patch.object(training, "parts_by_length", as_drawn),
    ):
        yield


WAYS: Mapping[str, Callable[[], contextlib.AbstractContextManager[None]]] = {
    "plain": plain,
    "trimmed": uncached,
    "cached": contextlib.nullcontext,
}


def trained(case: Case) -> TrainedGates:
    """One training of the case."""
    return train_gates(case.base, case.expert, case.rows, recipe=case.recipe)


def measured(case: Case) -> tuple[list[str], dict[str, Any]]:
    """A row of the table, and the figures behind it."""
    found = {}
    for name, way in WAYS.items():
        print(f"{case.name}, {name} ...", flush=True)
        with way():
            found[name] = trained(case)
    first, last = found["plain"], found["cached"]
    apart = max(float((last.gates[name] - gate).abs().max()) for name, gate in first.gates.items())
    saved = 1 - last.seconds / found["trimmed"].seconds
    figures = {
        "steps": case.recipe.steps,
        "seconds": {name: one.seconds for name, one in found.items()},
        "saved_by_caching": saved,
        "peak_bytes": [first.peak_bytes, last.peak_bytes],
        "largest_difference": apart,
    }
    row = [case.name, *(f"{one.seconds:.1f}" for one in found.values()), f"{saved:.0%}"]
    memory = [f"{one.peak_bytes / 2**20:.0f}" for one in (first, last)]
    return [*row, *memory, f"{apart:.1e}"], figures


def main() -> None:
    """All ways, side by side."""
    began = time.monotonic()
    cases = (shipped("mara/plural", 10), shipped("elodie/french-words", 10), random_base(8, 2))
    measurements = {case.name: measured(case) for case in cases}
    columns = [
        "case",
        *(f"s {name}" for name in WAYS),
        "caching saves",
        "MiB plain",
        "MiB cached",
        "gates apart",
    ]
    show("Training an expert's gates, a few steps", columns, [row for row, _figures in measurements.values()])
    save("gate_cost", {name: figures for name, (_row, figures) in measurements.items()})
    print(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
