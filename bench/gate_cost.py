"""`python -m bench.gate_cost`: what training an expert's gates costs, before and after what is computed once.

Seconds for a few steps of the recipe, peak memory of each run, and the largest difference between the gates.
`before` pads rows in the order they are drawn in, computes every layer at every step and every logit.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
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

VOCABULARY, CONTEXT = 50257, 1024


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


def gpt2(first: int, steps: int) -> Case:
    """A base of GPT-2 small's shape with random weights, an expert of rank 8 from a layer on, rows of 16 to 96 tokens."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=CONTEXT)).eval()
    model.requires_grad_(requires_grad=False)
    layers = dict(target_layers(model))
    modules = tuple(TargetModule(name, "conv1d", *widths(layer), 1.0) for name, layer in layers.items())
    spec = BaseSpec("gpt2-shaped", "GPT2LMHeadModel", None, "", "", "", VOCABULARY, CONTEXT, modules)
    base = Base(spec, model, None, torch.device("cpu"), torch.float32, BaseRef("gpt2-shaped"))
    draw = torch.Generator().manual_seed(1)
    chosen = [module for module in modules if int(module.name.split(".")[2]) >= first]
    expert = {module.name: _factors(module, draw) for module in chosen}
    lengths = torch.randint(16, 97, (12,), generator=draw).tolist()
    rows: list[Row] = [
        (torch.randint(2, 50000, (length - 8,), generator=draw).tolist(), [5, 6, 7, 8, 9, 10, 11, 12])
        for length in lengths
    ]
    return Case(
        f"GPT-2 small's shape, from layer {first}", base, expert, rows, GateRecipe(steps=steps, batch=16)
    )


def _factors(module: TargetModule, draw: torch.Generator) -> Factors:
    a = torch.linalg.qr(torch.randn(module.d_in, 8, generator=draw)).Q.T.contiguous()
    b = torch.randn(module.d_out, 8, generator=draw) * 0.05
    return Factors(a, b, torch.linalg.vector_norm(b, dim=0))


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Without anything that makes it cheaper."""

    def as_drawn(rows: Sequence[Row], at_once: int) -> Any:
        return (rows[start : start + at_once] for start in range(0, len(rows), at_once))

    with (
        patch.object(frozen_prefix, "MOST_BYTES", 0),
        patch.object(completion_loss, "_trims_logits", lambda _model: False),
        patch.object(completion_loss, "parts_by_length", as_drawn),
        patch.object(training, "parts_by_length", as_drawn),
    ):
        yield


def trained(case: Case) -> TrainedGates:
    """One training of the case."""
    return train_gates(case.base, case.expert, case.rows, recipe=case.recipe)


def main() -> None:
    """Both ways, side by side."""
    cases = (
        shipped("mara/plural", 20),
        shipped("elodie/french-words", 20),
        gpt2(0, 2),
        gpt2(8, 2),
    )
    rows, figures = [], {}
    for case in cases:
        with as_before():
            before = trained(case)
        after = trained(case)
        apart = max(float((after.gates[name] - gate).abs().max()) for name, gate in before.gates.items())
        figures[case.name] = {
            "steps": case.recipe.steps,
            "seconds": [before.seconds, after.seconds],
            "peak_bytes": [before.peak_bytes, after.peak_bytes],
            "largest_difference": apart,
        }
        rows.append(
            [
                case.name,
                f"{before.seconds:.1f}",
                f"{after.seconds:.1f}",
                f"{before.seconds / after.seconds:.2f}",
                f"{before.peak_bytes / 2**20:.0f}",
                f"{after.peak_bytes / 2**20:.0f}",
                f"{apart:.1e}",
            ]
        )
    columns = ["case", "s before", "s after", "ratio", "MiB before", "MiB after", "gates apart"]
    show("Training an expert's gates, a few steps", columns, rows)
    save("gate_cost", figures)


if __name__ == "__main__":
    main()
