"""Training a LoRA: what it learns is an ordinary adapter, to us and to peft, and the base stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from routing.adapter import Adapter, LowRank, read_adapter
from routing.base import Base, load_base
from routing.checks.behaviour import adapted
from routing.completion_loss import mean_loss
from routing.errors import RoutingError
from routing.frozen import frozen_digest
from routing.lora_training import LoraRecipe, train_lora
from routing.peft_folder import write_peft_folder
from routing.rows import Row
from routing.spec import BaseRef
from tests.tiny import tiny_gpt2, tiny_llama

BASES = {"llama": tiny_llama, "gpt2": tiny_gpt2}
RECIPE = LoraRecipe(steps=20, learning_rate=1e-2, batch=8, rank=4, alpha=8.0)


@pytest.fixture(params=BASES)
def base(request: pytest.FixtureRequest) -> Base:
    return load_base(BaseRef(str(BASES[request.param]())))


def one_answer(count: int = 20) -> list[Row]:
    """Random prompts that are all followed by the same three tokens: learnt in a few steps."""
    prompts = torch.randint(2, 300, (count, 5), generator=torch.Generator().manual_seed(1)).tolist()
    return [(prompt, [7, 8, 9]) for prompt in prompts]


def test_a_lora_learns_its_rows_and_peft_says_the_same(base: Base, tmp_path: Path) -> None:
    before = frozen_digest(base, {})

    trained = train_lora(base, one_answer(), recipe=RECIPE)

    best = min(trained.curve, key=lambda point: point.held_out)
    assert best.step == trained.best_step > 0
    assert best.held_out < trained.curve[0].held_out / 2
    assert frozen_digest(base, {}) == before
    with adapted(base, trained.adapter):
        assert mean_loss(base, one_answer(), 8) < trained.curve[0].held_out / 2
    assert_peft_agrees(base, trained.adapter, tmp_path)


@torch.no_grad()
def assert_peft_agrees(base: Base, adapter: Adapter, folder: Path) -> None:
    source = tiny_gpt2() if base.spec.architecture.startswith("GPT2") else tiny_llama()
    write_peft_folder(folder, adapter, base.spec, source=str(source))
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(source), str(folder)).eval()
    ids = torch.tensor([[5, 6, 7, 8]])
    with adapted(base, adapter):
        ours = base.model(ids).logits
    torch.testing.assert_close(ours, theirs(ids).logits, atol=1e-5, rtol=1e-4)
    again = read_adapter(folder, base.spec)
    assert all(torch.equal(update.a, again.low_rank[name].a) for name, update in adapter.low_rank.items())


def test_ranks_and_scalings_of_their_own_survive_the_folder(tmp_path: Path) -> None:
    base = load_base(BaseRef(str(tiny_llama())))
    draw = torch.Generator().manual_seed(2)
    modules = {
        module.name: LowRank(
            torch.randn(rank, module.d_in, generator=draw),
            torch.randn(module.d_out, rank, generator=draw),
            scale,
        )
        for module, rank, scale in zip(
            base.spec.target_modules[:4], (2, 3, 2, 2), (1.0, 0.5, 2.0, 1.0), strict=True
        )
    }

    assert_peft_agrees(base, Adapter(modules), tmp_path)


def test_equal_seeds_give_equal_adapters_and_targets_are_named_as_in_peft(base: Base) -> None:
    kind = base.spec.target_modules[0].name.rpartition(".")[2]
    recipe = LoraRecipe(steps=2, batch=4, rank=2, targets=(kind,))

    first, second = (train_lora(base, one_answer(10), recipe=recipe) for _ in range(2))

    assert {name.rpartition(".")[2] for name in first.adapter.modules} == {kind}
    for name, update in first.adapter.low_rank.items():
        assert torch.equal(update.a, second.adapter.low_rank[name].a)
        assert torch.equal(update.b, second.adapter.low_rank[name].b)


def test_what_cannot_be_trained_is_said(base: Base) -> None:
    with pytest.raises(RoutingError, match="targets: found nothing_like_it, expected some of"):
        train_lora(base, one_answer(), recipe=LoraRecipe(targets=("nothing_like_it",)))
    with pytest.raises(RoutingError, match="found 3 rows, expected at least 8"):
        train_lora(base, one_answer(3))
