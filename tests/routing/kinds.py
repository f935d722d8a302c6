"""Small libraries of experts of every kind: LoRA, DoRA and (IA)^3, on a base with Linear and one with Conv1D."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from routing.adapter import Adapter, Dora, InputScale, LowRank, OutputScale, read_adapter
from routing.base import Base
from routing.factors import Factors, expert_factors
from routing.spec import BaseSpec
from routing.weights import layers_of
from tests.routing.libraries import SmallLibrary
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_ia3, tiny_llama


@cache
def llama_kinds(directory: Path) -> SmallLibrary:
    """Two of each kind on a small Llama, on all, some or few modules."""
    return SmallLibrary(
        tiny_llama(),
        {
            "ada/lora": tiny_adapter(directory / "ada", rank=4, seed=1),
            "bob/dora": tiny_adapter(directory / "bob", rank=3, dora=True, rslora=True, seed=2),
            "cy/ia3": tiny_ia3(directory / "cy", seed=3),
            "di/dora": tiny_adapter(
                directory / "di", dora=True, layers=(1,), targets=("o_proj", "up_proj"), seed=4
            ),
            "eve/ia3": tiny_ia3(directory / "eve", targets=("q_proj", "down_proj"), seed=5),
            "flo/lora": tiny_adapter(directory / "flo", rank=2, targets=("v_proj",), seed=6),
        },
    )


@cache
def gpt2_kinds(directory: Path) -> SmallLibrary:
    """One of each kind on a small GPT-2, whose layers have biases and keep their weights transposed."""
    base = with_biases(tiny_gpt2(), directory / "base")
    return SmallLibrary(
        base,
        {
            "ada/lora": tiny_adapter(directory / "ada", base, rank=4, seed=1),
            "bob/dora": tiny_adapter(directory / "bob", base, rank=3, dora=True, seed=2),
            "cy/ia3": tiny_ia3(directory / "cy", base, seed=3),
        },
    )


def with_biases(base: Path, folder: Path) -> Path:
    """The same base with biases as if it had been trained; a fresh one has zeros."""
    shutil.copytree(base, folder)
    weights, generator = load_file(folder / "model.safetensors"), torch.Generator().manual_seed(0)
    for name, tensor in weights.items():
        if name.endswith(".bias") and ".ln_" not in name:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.2)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def factors_of(library: SmallLibrary, base: Base) -> dict[str, dict[str, Factors]]:
    """The experts' factors, worked out beside the base."""
    layers = layers_of(base)
    return {
        name: expert_factors(read_adapter(path, base.spec), layers) for name, path in library.adapters.items()
    }


@cache
def _read(path: Path, spec: BaseSpec) -> Adapter:
    return read_adapter(path, spec)


def dense_update(
    path: Path, base: Base, module: str, weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(dW, db) of an adapter at one module in float64, from the methods' papers and nothing of ours."""
    nothing = torch.zeros(len(weight), dtype=torch.float64)
    match _read(path, base.spec).modules.get(module):
        case LowRank(a, b, scaling):
            return scaling * b.double() @ a.double(), nothing
        case Dora(LowRank(a, b, scaling), magnitude):
            new = weight + scaling * b.double() @ a.double()
            return magnitude.double()[:, None] * new / new.norm(dim=1, keepdim=True) - weight, nothing
        case OutputScale(scale):
            factor = scale.double()
            return factor[:, None] * weight - weight, nothing if bias is None else factor * bias - bias
        case InputScale(scale):
            return weight * scale.double() - weight, nothing
    return torch.zeros_like(weight), nothing
