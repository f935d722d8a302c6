"""Architectures that name, fuse and share their layers differently: each equals peft with one expert, and the mean with all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from routing.base import load_base, target_layers
from routing.composed import compose
from routing.notebook import read_experts
from routing.routes import Routing
from tests.tiny import CONTEXT, VOCABULARY, tiny_tokenizer

TOKENS = (5, 40, 9, 77, 13, 250, 31)
LLAMA_LIKE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": LLAMA_LIKE,
    "gemma": {**LLAMA_LIKE, "head_dim": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT},  # fused c_attn, Conv1D
    "gpt_neox": {**LLAMA_LIKE, "num_key_value_heads": None},  # fused query_key_value, interleaved by head
    "falcon": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_kv_heads": 2,
        "new_decoder_architecture": True,  # fused query_key_value with grouped queries
    },
}


def tiny(name: str, folder: Path) -> Path:
    shape = {key: value for key, value in SHAPES[name].items() if value is not None}
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = AutoConfig.for_model(name, vocab_size=VOCABULARY, **special, **shape)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def adapter(base: Path, folder: Path, *, rank: int, seed: int) -> Path:
    model = AutoModelForCausalLM.from_pretrained(base)
    targets = sorted({path.rpartition(".")[2] for path, _layer in target_layers(model)})
    adapted = get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=rank, target_modules=targets, task_type="CAUSAL_LM")
    )
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for path, parameter in adapted.named_parameters():
            if ".lora_" in path:
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.1)
    adapted.save_pretrained(str(folder))
    return folder


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model.eval()(torch.tensor([TOKENS])).logits[0].float()


@pytest.mark.filterwarnings("ignore:.*fan_in_fan_out:UserWarning")  # peft corrects it for Conv1D, and says so
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_one_expert_is_pefts_and_all_are_their_mean(name: str, tmp_path: Path) -> None:
    folder = tiny(name, tmp_path / "base")
    for seed, rank in enumerate((2, 5, 3)):
        adapter(folder, tmp_path / "adapters" / f"e{seed}", rank=rank, seed=seed)
    base = load_base(folder)
    model = compose(base, read_experts(tmp_path / "adapters", base))

    for expert in model.experts:
        plain = AutoModelForCausalLM.from_pretrained(folder)
        theirs = logits(PeftModel.from_pretrained(plain, tmp_path / "adapters" / expert))
        ours = model.logits(TOKENS, Routing("single", 1, experts=(expert,)))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    merged = AutoModelForCausalLM.from_pretrained(folder)
    for factors in read_experts(tmp_path / "adapters", base).values():
        for path, module in factors.items():
            weight, update = merged.get_parameter(f"{path}.weight"), module.b @ module.a / 3
            weight.data += update if base.spec.module(path).kind == "linear" else update.T
    torch.testing.assert_close(
        model.logits(TOKENS, Routing("uniform", 1)), logits(merged), atol=1e-4, rtol=1e-4
    )
    mixed = model.logits(TOKENS, Routing("arrow", top_k=2))
    assert torch.isfinite(mixed).all()
    assert not torch.allclose(mixed, model.base_logits(TOKENS), atol=1e-4)
