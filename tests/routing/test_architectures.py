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
    "mistral": {**LLAMA_LIKE, "sliding_window": 4},  # shorter than the tokens: attention looks back so far
    "qwen2": LLAMA_LIKE,  # biases at queries, keys and values only
    "phi": LLAMA_LIKE,  # attention and feed-forward side by side, on one norm; the head has a bias
    "phi3": LLAMA_LIKE,  # fused qkv_proj with grouped queries, fused gate_up_proj
    "opt": {  # positions are learnt, and the embeddings are narrower than the layers
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "word_embed_proj_dim": 16,
    },
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
LLAMA_LAYER = {
    "self_attn.q_proj": (32, 32),
    "self_attn.k_proj": (32, 16),
    "self_attn.v_proj": (32, 16),
    "self_attn.o_proj": (32, 32),
    "mlp.gate_proj": (32, 48),
    "mlp.up_proj": (32, 48),
    "mlp.down_proj": (48, 32),
}
WIDTHS: dict[
    str, dict[str, tuple[int, int]]
] = {  # (d_in, d_out) by name, in the first layer and outside layers
    "llama": LLAMA_LAYER,
    "mistral": LLAMA_LAYER,
    "qwen2": LLAMA_LAYER,
    "gemma": LLAMA_LAYER,
    "phi": {
        "self_attn.q_proj": (32, 32),
        "self_attn.k_proj": (32, 16),
        "self_attn.v_proj": (32, 16),
        "self_attn.dense": (32, 32),
        "mlp.fc1": (32, 48),
        "mlp.fc2": (48, 32),
    },
    "phi3": {
        "self_attn.qkv_proj": (32, 64),
        "self_attn.o_proj": (32, 32),
        "mlp.gate_up_proj": (32, 96),
        "mlp.down_proj": (48, 32),
    },
    "opt": {
        "project_in": (16, 32),
        "project_out": (32, 16),
        "self_attn.q_proj": (32, 32),
        "self_attn.k_proj": (32, 32),
        "self_attn.v_proj": (32, 32),
        "self_attn.out_proj": (32, 32),
        "fc1": (32, 48),
        "fc2": (48, 32),
    },
    "gpt2": {
        "attn.c_attn": (32, 96),
        "attn.c_proj": (32, 32),
        "mlp.c_fc": (32, 128),
        "mlp.c_proj": (128, 32),
    },
    "gpt_neox": {
        "attention.query_key_value": (32, 96),
        "attention.dense": (32, 32),
        "mlp.dense_h_to_4h": (32, 48),
        "mlp.dense_4h_to_h": (48, 32),
    },
    "falcon": {
        "self_attention.query_key_value": (32, 64),
        "self_attention.dense": (32, 32),
        "mlp.dense_h_to_4h": (32, 128),
        "mlp.dense_4h_to_h": (128, 32),
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


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_the_table_of_target_modules_names_every_linear_layer_but_the_head(name: str, tmp_path: Path) -> None:
    spec = load_base(tiny(name, tmp_path)).spec

    first = {
        module.name.partition(".0.")[2] or module.name.rpartition(".")[2]: (module.d_in, module.d_out)
        for module in spec.target_modules
        if ".1." not in module.name
    }
    assert first == WIDTHS[name]
    assert {module.kind for module in spec.target_modules} == {"conv1d" if name == "gpt2" else "linear"}
    in_layers = [module for module in spec.target_modules if "project_" not in module.name]
    assert len(in_layers) == 2 * len([path for path in WIDTHS[name] if "project_" not in path])
