"""Gates: they learn to open where their expert helps, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch
from torch.nn import Parameter

from routing.adapter import read_adapter
from routing.base import Base, load_base
from routing.checks.behaviour import adapted
from routing.errors import RoutingError
from routing.factor_tensors import factor_tensors
from routing.factors import Factors, expert_factors
from routing.frozen import frozen_digest
from routing.gates import GateRecipe, gated, train_gates
from routing.rows import Row
from routing.spec import BaseRef
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_llama


@pytest.fixture(params=[tiny_llama, tiny_gpt2], ids=["llama", "gpt2"])
def base(request: pytest.FixtureRequest) -> Base:
    return load_base(BaseRef(str(request.param())))


@pytest.fixture
def expert(base: Base, tmp_path: Path) -> dict[str, Factors]:
    return an_expert(base, tmp_path / "expert")


def an_expert(base: Base, folder: Path) -> dict[str, Factors]:
    known = tiny_gpt2() if base.spec.architecture.startswith("GPT2") else tiny_llama()
    return expert_factors(read_adapter(tiny_adapter(folder, known, layers=[1]), base.spec))


@torch.no_grad()
def rows_that_the_expert_knows(base: Base, folder: Path, *, count: int = 40) -> list[Row]:
    """Random prompts, each with what the adapted base says next."""
    known = tiny_gpt2() if base.spec.architecture.startswith("GPT2") else tiny_llama()
    adapter = read_adapter(tiny_adapter(folder, known, layers=[1]), base.spec)
    prompts = torch.randint(2, 300, (count, 6), generator=torch.Generator().manual_seed(1))
    ids = prompts
    with adapted(base, adapter):
        for _ in range(4):
            ids = torch.cat([ids, base.model(ids).logits[:, -1:].argmax(-1)], dim=1)
    return [(row[:6], row[6:]) for row in ids.tolist()]


def test_gates_open_where_the_expert_helps(base: Base, tmp_path: Path) -> None:
    rows = rows_that_the_expert_knows(base, tmp_path / "a")
    expert = an_expert(base, tmp_path / "b")

    trained = train_gates(base, expert, rows, recipe=GateRecipe(steps=60, learning_rate=0.05))

    assert set(trained.gates) == set(expert)
    assert trained.curve[0].step == 0
    assert trained.best_step > 0
    best = min(trained.curve, key=lambda point: point.held_out)
    assert best.step == trained.best_step
    assert best.held_out < trained.curve[0].held_out
    assert mean_openness(base, trained.gates, rows) > 0.55


def mean_openness(base: Base, gates: Mapping[str, torch.Tensor], rows: list[Row]) -> float:
    """How far the gates are open on the rows' tokens as the base sees them: 0.5 before training."""
    opened: list[torch.Tensor] = []
    with ExitStack() as hooks:
        for name, gate in gates.items():
            layer = base.model.get_submodule(name)
            look = layer.register_forward_pre_hook(
                lambda _layer, inputs, gate=gate: opened.append(torch.sigmoid(inputs[0] @ gate).mean())
            )
            hooks.callback(look.remove)
        base.model(torch.tensor([[*prompt, *completion] for prompt, completion in rows]))
    return float(torch.stack(opened).mean())


def test_a_gate_of_zero_lets_half_of_the_expert_through(
    base: Base, expert: dict[str, Factors], tmp_path: Path
) -> None:
    rows = rows_that_the_expert_knows(base, tmp_path / "a", count=8)
    halves = {name: Factors(module.a, module.b / 2, module.sigma / 2) for name, module in expert.items()}
    wide_open = {name: Parameter(torch.zeros(module.a.shape[1])) for name, module in expert.items()}

    with gated(base, expert, wide_open):
        half_open = base.model(torch.tensor([rows[0][0]])).logits

    doubled = {name: Factors(module.a, module.b * 2, module.sigma * 2) for name, module in halves.items()}
    with gated(base, doubled, wide_open):
        torch.testing.assert_close(base.model(torch.tensor([rows[0][0]])).logits, half_open)


def test_nothing_but_the_gates_changes(base: Base, expert: dict[str, Factors], tmp_path: Path) -> None:
    rows = rows_that_the_expert_knows(base, tmp_path / "a", count=12)
    ids = torch.tensor([rows[0][0]])
    with torch.no_grad():
        before, digest = base.model(ids).logits, frozen_digest(base, factor_tensors(expert))

    train_gates(base, expert, rows, recipe=GateRecipe(steps=3))

    assert frozen_digest(base, factor_tensors(expert)) == digest
    with torch.no_grad():
        assert torch.equal(base.model(ids).logits, before)
    assert all(parameter.grad is None for parameter in base.model.parameters())


def test_the_digest_sees_one_changed_bit(base: Base, expert: dict[str, Factors]) -> None:
    before = frozen_digest(base, factor_tensors(expert))
    changed = expert[next(iter(expert))].a
    bits = changed.view(torch.int32)
    bits[0, 0] ^= 1

    assert frozen_digest(base, factor_tensors(expert)) != before


def test_accumulation_changes_only_the_memory(base: Base, expert: dict[str, Factors], tmp_path: Path) -> None:
    rows = rows_that_the_expert_knows(base, tmp_path / "a", count=20)

    at_once, in_parts = (
        train_gates(base, expert, rows, recipe=GateRecipe(steps=4, batch=12, at_once=size))
        for size in (12, 5)
    )

    for name, gate in at_once.gates.items():
        torch.testing.assert_close(gate, in_parts.gates[name], atol=1e-4, rtol=1e-3)


def test_equal_rows_and_seed_give_equal_gates(base: Base, expert: dict[str, Factors], tmp_path: Path) -> None:
    rows = rows_that_the_expert_knows(base, tmp_path / "a", count=12)

    first, second = (train_gates(base, expert, rows, recipe=GateRecipe(steps=3)) for _ in range(2))

    assert all(torch.equal(gate, second.gates[name]) for name, gate in first.gates.items())


def test_training_ends_when_held_out_rows_gain_nothing(base: Base, expert: dict[str, Factors]) -> None:
    noise = torch.randint(2, 300, (20, 10), generator=torch.Generator().manual_seed(3)).tolist()
    recipe = GateRecipe(steps=400, learning_rate=0.5, check_every=5, patience=2)

    trained = train_gates(base, expert, [(row[:6], row[6:]) for row in noise], recipe=recipe)

    assert trained.curve[-1].step < 400
    assert trained.curve[-1].step - trained.best_step == 10


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([([5], [6])] * 7, "found 7 rows, expected at least 8"),
        ([([5], [6])] * 8 + [([5], [])], "row 9: found an empty prompt or completion"),
        ([([5], [6])] * 8 + [([5] * 300, [6])], "row 9: found 301 tokens, expected at most 256"),
    ],
)
def test_unusable_rows_are_named(base: Base, expert: dict[str, Factors], rows: list[Row], says: str) -> None:
    with pytest.raises(RoutingError, match=says):
        train_gates(base, expert, rows)
