"""A library of one demonstration adapter answers as peft's own LoRA does."""

from functools import cache

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from demo.tasks import BASE, TASKS, Task
from routing.adapter import read_adapter
from routing.base import Base, load_base
from routing.composed import compose
from routing.factors import expert_factors
from routing.index import RoutingPolicy
from routing.spec import BaseRef


@cache
def base() -> Base:
    return load_base(BaseRef(str(BASE)))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_an_index_of_one_demonstration_adapter_equals_peft(task: Task) -> None:
    factors = expert_factors(read_adapter(task.adapter_directory, base().spec))
    prompt = task.test_rows[0].prompt

    ours = compose(base(), {task.adapter: factors}, RoutingPolicy(top_k=1)).logits(prompt)

    plain = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    peft = PeftModel.from_pretrained(plain, task.adapter_directory).eval()
    ids = torch.tensor([base().tokenizer(prompt)["input_ids"]])
    with torch.no_grad():
        theirs = peft(input_ids=ids).logits[0]
    # Both round in float32, so the measure is the size of the logits, not of the smallest of them.
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
