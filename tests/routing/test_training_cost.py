"""What makes training cheaper changes none of its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from routing import completion_loss, frozen_prefix, peak_memory
from routing.adapter import read_adapter
from routing.base import Base, load_base
from routing.completion_loss import mean_loss, parts_by_length, summed_loss
from routing.factors import expert_factors
from routing.frozen_prefix import computed_once
from routing.gates import GateRecipe, train_gates
from routing.rows import Row
from routing.spec import BaseRef
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_llama


@pytest.fixture(params=[tiny_llama, tiny_gpt2], ids=["llama", "gpt2"])
def folder(request: pytest.FixtureRequest) -> Path:
    return request.param(layers=3)


@pytest.fixture
def base(folder: Path) -> Base:
    return load_base(BaseRef(str(folder)))


def rows(count: int = 12) -> list[Row]:
    """Rows of many lengths; some end in the token that padding uses."""
    draw = torch.Generator().manual_seed(1)
    ids = torch.randint(2, 300, (count, 40), generator=draw).tolist()
    return [
        (line[: 3 + place], [*line[20 : 22 + place % 5], *[0] * (place % 3)])
        for place, line in enumerate(ids)
    ]


def last_layer(base: Base) -> list[str]:
    return [module.name for module in base.spec.target_modules if ".2." in module.name]


def test_a_pass_that_begins_in_the_middle_says_the_same(base: Base) -> None:
    some = rows()
    before = [float(summed_loss(base, part)) for part in (some[:5], some[3:4], some)]
    state = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}

    with computed_once(base, last_layer(base), some) as left_out:
        within = [float(summed_loss(base, part)) for part in (some[:5], some[3:4], some)]

    assert left_out == 2
    assert within == pytest.approx(before, rel=1e-5)
    assert [float(summed_loss(base, part)) for part in (some[:5], some[3:4], some)] == before
    assert all(torch.equal(tensor, state[name]) for name, tensor in base.model.state_dict().items())


def test_layers_below_the_first_gate_are_not_run_again(base: Base) -> None:
    some, ran = rows(), []
    name = last_layer(base)[0].replace(".2.", ".0.")

    with computed_once(base, last_layer(base), some):
        hook = base.model.get_submodule(name).register_forward_pre_hook(lambda *_: ran.append(name))
        summed_loss(base, some)
        hook.remove()

    assert ran == []


@pytest.mark.parametrize("case", ["first layer", "too many bytes", "no layers"])
def test_nothing_is_left_out_where_it_would_not_pay(
    base: Base, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    modules = last_layer(base)
    if case == "first layer":
        modules = [module.name for module in base.spec.target_modules]
    if case == "no layers":
        modules = ["lm_head", *modules]
    if case == "too many bytes":
        monkeypatch.setattr(frozen_prefix, "MOST_BYTES", 100)

    with computed_once(base, modules, rows()) as left_out:
        assert left_out == 0


def test_gates_are_the_same_whatever_was_computed_once(
    base: Base, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expert = expert_factors(read_adapter(tiny_adapter(tmp_path, folder, layers=[1, 2]), base.spec))
    recipe = GateRecipe(steps=3, batch=8, at_once=4)

    quick = train_gates(base, expert, rows(), recipe=recipe)
    monkeypatch.setattr(frozen_prefix, "MOST_BYTES", 0)
    slow = train_gates(base, expert, rows(), recipe=recipe)

    for name, gate in quick.gates.items():
        torch.testing.assert_close(gate, slow.gates[name], atol=1e-4, rtol=1e-3)


def test_trimmed_logits_give_the_same_loss(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed = float(summed_loss(base, rows()))
    monkeypatch.setattr(completion_loss, "_trims_logits", lambda _model: False)

    assert float(summed_loss(base, rows())) == pytest.approx(trimmed, rel=1e-6)


def test_parts_hold_like_lengths_and_every_row_once(base: Base) -> None:
    parts = list(parts_by_length(rows(), 5))

    lengths = [[len(prompt) + len(completion) for prompt, completion in part] for part in parts]
    assert [len(part) for part in parts] == [5, 5, 2]
    assert [length for part in lengths for length in part] == sorted(len(p) + len(c) for p, c in rows())
    assert mean_loss(base, rows(), 5) == pytest.approx(mean_loss(base, rows(), 1), rel=1e-5)


def test_the_peak_of_one_job_is_not_that_of_the_one_before() -> None:
    cpu = torch.device("cpu")
    peak_memory.begin(cpu)
    large = torch.ones(60 * 2**20)  # 240 MB
    before = peak_memory.peak_bytes(cpu)
    del large
    peak_memory.begin(cpu)

    assert peak_memory.peak_bytes(cpu) < before - 100 * 2**20
