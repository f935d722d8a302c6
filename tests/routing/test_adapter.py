"""Adapters that PEFT saved are read as PEFT computes them, and nothing else in the file is."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from routing.adapter import read_adapter
from routing.base import inspect_base
from routing.errors import BadAdapter
from routing.spec import BaseRef, BaseSpec
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_llama

KINDS: dict[str, tuple[Callable[[], Path], dict[str, Any]]] = {
    "plain": (tiny_llama, {}),
    "some layers and targets": (tiny_llama, {"targets": ["q_proj", "down_proj"], "layers": [1]}),
    "rank-stabilised": (tiny_llama, {"rank": 9, "alpha": 3, "rslora": True}),
    "patterns by the end of a name": (
        tiny_llama,
        {"rank_pattern": {"self_attn.q_proj": 7}, "alpha_pattern": {"mlp.up_proj": 2, "q_proj": 5}},
    ),
    "patterns by a whole name": (
        tiny_llama,
        {
            "rank_pattern": {"model.layers.0.self_attn.q_proj": 3, "q_proj": 6},
            "alpha_pattern": {"model.layers.1.mlp.gate_proj": 1},
        },
    ),
    "patterns by a whole name after ^": (
        tiny_llama,
        {
            "rank_pattern": {"^model.layers.0.mlp.up_proj": 3},
            "alpha_pattern": {"^model.layers.0.mlp.up_proj": 5, "up_proj": 2},
        },
    ),
    "an end that is no dotted end of layer 11": (
        functools.partial(tiny_llama, layers=12),
        {"targets": ["up_proj"], "rank_pattern": {"1.mlp.up_proj": 2}, "alpha_pattern": {"1.mlp.up_proj": 3}},
    ),
    "rank above the width": (tiny_llama, {"rank": 40}),
    "transposed layers": (tiny_gpt2, {}),
    "transposed layers with patterns": (
        tiny_gpt2,
        {
            "targets": ["c_proj", "c_fc"],
            "rank_pattern": {"mlp.c_proj": 2},
            "alpha_pattern": {"h.1.attn.c_proj": 3},
        },
    ),
}


def spec_of(folder: Path) -> BaseSpec:
    return inspect_base(BaseRef(str(folder)), name="tiny")


@pytest.mark.parametrize("kind", KINDS)
def test_every_update_equals_pefts(tmp_path: Path, kind: str) -> None:
    base, options = KINDS[kind]
    directory = tiny_adapter(tmp_path, base(), **options)

    ours = read_adapter(directory, spec_of(base())).low_rank

    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base()), str(directory))
    layers = {
        name.removeprefix("base_model.model."): layer
        for name, layer in theirs.named_modules()
        if hasattr(layer, "lora_A") and "default" in layer.lora_A
    }
    assert set(ours) == set(layers)
    for name, layer in layers.items():
        update = ours[name].scaling * ours[name].b @ ours[name].a
        delta = layer.get_delta_weight("default")
        torch.testing.assert_close(update, delta.T if layer.fan_in_fan_out else delta)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_it_is(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tiny_adapter(tmp_path) / "adapter_model.safetensors"
    halves = {name: tensor.to(dtype) for name, tensor in load_file(path).items()}
    save_file(halves, path)

    update = read_adapter(tmp_path, spec_of(tiny_llama())).low_rank["model.layers.0.mlp.up_proj"]

    stored = halves["base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"]
    assert update.b.dtype == torch.float32
    torch.testing.assert_close(update.b, stored.float(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "stranger",
    [
        "base_model.model.lm_head.weight",
        "base_model.model.model.norm.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight",
        "base_model.model.model.layers.0.mlp.up_proj.weight",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.other.weight",
    ],
)
def test_a_tensor_that_is_no_half_of_a_lora_is_refused_by_name(tmp_path: Path, stranger: str) -> None:
    path = tiny_adapter(tmp_path) / "adapter_model.safetensors"
    save_file({**load_file(path), stranger: torch.zeros(2, 2)}, path)

    with pytest.raises(BadAdapter) as refusal:
        read_adapter(tmp_path, spec_of(tiny_llama()))

    assert [finding.field for finding in refusal.value.findings] == [stranger]


def test_a_pattern_of_a_stranger_is_never_run(tmp_path: Path) -> None:
    path = tiny_adapter(tmp_path) / "adapter_config.json"
    config = json.loads(path.read_text()) | {"rank_pattern": {"(a+)+$": 4}, "target_modules": "(a|a)*b"}
    path.write_text(json.dumps(config))

    with pytest.raises(BadAdapter, match="a pattern"):
        read_adapter(tmp_path, spec_of(tiny_llama()))
