"""The demonstration's base and adapters are what their tables say, and each adapter does its own task."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from demo.bad import write_bad_adapter
from demo.recipes import RECIPES
from demo.tasks import BASE, BASE_ID, MAX_TOKENS, SAMPLE_ROWS, TASKS, Row, Task, exact_match

FEW = 4
each_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(BASE)


def base() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32).eval()


def accuracy(model: Any, rows: tuple[Row, ...]) -> float:
    """Exact matches of greedy answers."""
    right = 0
    for row in rows:
        prompt = tokenizer()(row.prompt, return_tensors="pt")["input_ids"]
        answer = model.generate(input_ids=prompt, max_new_tokens=MAX_TOKENS, do_sample=False)
        right += exact_match(str(tokenizer().decode(answer[0, prompt.shape[1] :])), row.completion)
    return right / len(rows)


@each_task
def test_an_adapter_solves_its_task_and_the_base_does_not(task: Task) -> None:
    model = base()
    rows = task.test_rows[:FEW]
    assert accuracy(model, rows) == 0
    adapted = PeftModel.from_pretrained(model, task.adapter_directory).eval()
    assert accuracy(adapted, rows) >= 0.75


@each_task
def test_an_adapters_configuration_is_its_recipe(task: Task) -> None:
    config = json.loads((task.adapter_directory / "adapter_config.json").read_text())
    recipe = RECIPES[task.name]
    assert config["base_model_name_or_path"] == BASE_ID
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (
        recipe.rank,
        recipe.alpha,
        recipe.rslora,
    )
    assert set(config["target_modules"]) == set(recipe.targets)
    assert config["layers_to_transform"] == (list(recipe.layers) if recipe.layers else None)
    assert (config["rank_pattern"], config["alpha_pattern"]) == (recipe.rank_pattern, recipe.alpha_pattern)
    assert not config["use_dora"]
    assert config["bias"] == "none"
    assert config["modules_to_save"] is None


@each_task
def test_training_and_test_rows_are_disjoint(task: Task) -> None:
    assert len(task.test_rows) >= 12
    assert not {row.prompt for row in task.train_rows} & {row.prompt for row in task.test_rows}


@each_task
def test_the_shipped_sample_rows_are_training_rows(task: Task) -> None:
    rows = [Row(**json.loads(line)) for line in task.samples_path.read_text().splitlines()]
    assert len(rows) == SAMPLE_ROWS
    assert set(rows) <= set(task.train_rows)


def test_no_two_recipes_agree_on_rank_alpha_targets_and_layers() -> None:
    settings = {(one.rank, one.alpha, one.targets, one.layers) for one in RECIPES.values()}
    assert len(settings) == len(RECIPES)


def test_a_chat_message_becomes_the_prompt_of_a_task() -> None:
    row = TASKS[0].test_rows[0]
    question = row.prompt.removeprefix("Q: ").removesuffix("\nA:")
    tokens = tokenizer().apply_chat_template(
        [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
    )
    assert tokens == tokenizer()(row.prompt)["input_ids"]


def test_the_bad_adapter_holds_a_nan_and_a_rank_that_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(base(), write_bad_adapter(tmp_path / "bad"))
