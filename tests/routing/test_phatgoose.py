"""PHATGOOSE as its paper has it: trained gates open where their expert helps; inference against float64."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from demo.tasks import BASE, TASKS
from routing.adapter import read_adapter
from routing.base import load_base
from routing.checks.samples import parse_samples
from routing.composed import compose
from routing.factors import Factors, expert_factors
from routing.gates import GateRecipe, train_gates
from routing.index import RoutingPolicy
from routing.neutral import neutral_tokens
from routing.rows import encoded_rows
from routing.spec import BaseRef
from tests.routing.libraries import TEXT, llama_library


def reference(expert_gates: Mapping[str, Tensor], experts: Mapping[str, Factors]) -> Callable[..., Tensor]:
    """One module in float64 by hand: two layer norms, a product over sqrt(d), the best two, their softmax."""

    def add(_layer: Any, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        x = inputs[0]
        d = x.shape[-1]
        scores = {
            name: functional.layer_norm(x, [d], eps=0.0) @ functional.layer_norm(gate.double(), [d], eps=0.0)
            for name, gate in expert_gates.items()
        }
        added = torch.zeros_like(output)
        for place in torch.cartesian_prod(*(torch.arange(size) for size in x.shape[:-1])).reshape(-1, 2):
            at = tuple(place.tolist())
            best = sorted(scores, key=lambda name: float(scores[name][at]), reverse=True)[:2]
            weights = torch.softmax(torch.stack([scores[name][at] / d**0.5 for name in best]), dim=0)
            for name, weight in zip(best, weights, strict=True):
                dense = experts[name].b.double() @ experts[name].a.double()
                added[at] = added[at] + weight * (dense @ x[at])
        return output + added

    return add


def test_inference_equals_a_float64_reference(tmp_path: Path) -> None:
    library = llama_library(tmp_path)
    experts = library.experts()
    draw = torch.Generator().manual_seed(0)
    gates = {
        name: {module: 3 * torch.randn(one.a.shape[1], generator=draw) for module, one in modules.items()}
        for name, modules in experts.items()
    }
    ours = compose(library.base(), experts, RoutingPolicy("phatgoose", top_k=2), gates=gates).logits(TEXT)

    exact = copy.deepcopy(library.base().model).double()
    with ExitStack() as hooks, torch.no_grad():
        for name in {module for modules in experts.values() for module in modules}:
            there = {expert: modules[name] for expert, modules in experts.items() if name in modules}
            hook = reference({expert: gates[expert][name] for expert in there}, there)
            hooks.callback(exact.get_submodule(name).register_forward_hook(hook).remove)
        theirs = exact(torch.tensor([library.base().tokenizer(TEXT)["input_ids"]])).logits[0]

    torch.testing.assert_close(ours.double(), theirs, atol=2e-4, rtol=2e-4)


def test_gates_of_a_real_expert_open_on_its_own_rows_and_less_elsewhere() -> None:
    """A shipped adapter, a fifth of the recipe's steps: the mean opening on its rows, others' rows, no task."""
    task, other = TASKS[3], TASKS[1]
    base = load_base(BaseRef(str(BASE)))
    expert = expert_factors(read_adapter(task.adapter_directory, base.spec))
    rows = {
        one.name: encoded_rows(base, parse_samples(one.samples_path.read_bytes())[0]) for one in (task, other)
    }

    trained = train_gates(base, expert, rows[task.name], recipe=GateRecipe(steps=20, batch=16, at_once=16))

    texts = {name: [torch.tensor([[*p, *c]]) for p, c in some[:12]] for name, some in rows.items()}
    texts["neutral"] = list(neutral_tokens(base, sequences=8, length=32).long().split(1))
    opening = {name: mean_opening(base.model, trained.gates, some) for name, some in texts.items()}
    assert opening[task.name] > 0.52
    assert opening[task.name] > opening[other.name]
    assert opening[task.name] > opening["neutral"]


@torch.no_grad()
def mean_opening(model: Any, gates: Mapping[str, Tensor], texts: list[Tensor]) -> float:
    """The mean of sigmoid(v.x) over tokens and modules, as the plain base sees the texts."""
    opened: list[Tensor] = []
    with ExitStack() as hooks:
        for name, gate in gates.items():
            hook = model.get_submodule(name).register_forward_pre_hook(
                lambda _layer, inputs, gate=gate: opened.append(torch.sigmoid(inputs[0] @ gate).flatten())
            )
            hooks.callback(hook.remove)
        for ids in texts:
            model(ids)
    return float(torch.cat(opened).mean())
