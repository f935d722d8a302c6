"""Small libraries to compose: a base and real PEFT adapters that differ in everything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import torch
from peft import PeftModel

from routing.adapter import read_adapter
from routing.base import Base, load_base
from routing.factors import Factors, expert_factors
from routing.spec import BaseRef
from routing.weights import layers_of
from tests.tiny import GPT2_TARGETS, tiny_adapter, tiny_gpt2, tiny_llama, tiny_model, tiny_t5

TEXT = "The ferry leaves at nine; nobody counted 345 gulls."
WAYS_TO_DIFFER: dict[str, dict[str, object]] = {
    "ada/plain": {"rank": 4, "alpha": 8},
    "bob/wide": {"rank": 7, "alpha": 3, "rslora": True},
    "cy/attention": {"rank": 2, "alpha": 4, "targets": ("q_proj", "v_proj")},
    "di/patterned": {
        "rank": 3,
        "alpha": 6,
        "rank_pattern": {"q_proj": 6},
        "alpha_pattern": {"down_proj": 1.0},
    },
    "eve/late": {"rank": 5, "alpha": 5, "layers": (1,), "targets": ("down_proj", "o_proj", "gate_proj")},
}
GPT2_WAYS_TO_DIFFER: dict[str, dict[str, object]] = {
    "ada/plain": {"rank": 4, "alpha": 8},
    "bob/wide": {"rank": 6, "alpha": 3, "rslora": True, "targets": ("c_attn", "mlp.c_proj")},
    "di/patterned": {"rank": 3, "alpha": 6, "rank_pattern": {"c_attn": 6}, "alpha_pattern": {"c_fc": 1.0}},
    "eve/late": {"rank": 5, "alpha": 5, "layers": (1,), "targets": GPT2_TARGETS[1:3]},
}


T5_WAYS_TO_DIFFER: dict[str, dict[str, object]] = {
    "ada/plain": {"rank": 4, "alpha": 8},
    "bob/encoder": {
        "rank": 6,
        "alpha": 3,
        "rslora": True,
        "targets": ("encoder.block.1.layer.0.SelfAttention.v",),
    },
    "cy/cross": {
        "rank": 2,
        "alpha": 4,
        "targets": ("EncDecAttention.k", "EncDecAttention.v", "EncDecAttention.q"),
    },
    "di/patterned": {
        "rank": 3,
        "alpha": 6,
        "rank_pattern": {"SelfAttention.q": 6},
        "alpha_pattern": {"wo": 1.0},
    },
}


@dataclass(frozen=True)
class SmallLibrary:
    """A base folder with adapter folders by name."""

    folder: Path
    adapters: Mapping[str, Path]

    def base(self) -> Base:
        """The base, freshly loaded."""
        return load_base(BaseRef(str(self.folder)))

    @cached_property
    def untouched(self) -> Base:
        """The base, loaded once for whoever only looks at it."""
        return self.base()

    def experts(self) -> dict[str, dict[str, Factors]]:
        """The experts' factors."""
        base = self.untouched
        layers = layers_of(base)
        return {
            name: expert_factors(read_adapter(path, base.spec), layers)
            for name, path in self.adapters.items()
        }

    def peft_logits(self, name: str, text: str = TEXT) -> torch.Tensor:
        """What peft says about a text with this adapter: the authority."""
        model = PeftModel.from_pretrained(tiny_model(self.folder), self.adapters[name])
        ids = torch.tensor([self.untouched.tokenizer(text)["input_ids"]])
        with torch.no_grad():
            return model.eval()(ids).logits[0]


@cache
def llama_library(directory: Path) -> SmallLibrary:
    """Five adapters of a small Llama, of different ranks, scalings, targets and layers."""
    return _library(directory, tiny_llama(), WAYS_TO_DIFFER)


@cache
def gpt2_library(directory: Path) -> SmallLibrary:
    """Four adapters of a small GPT-2."""
    return _library(directory, tiny_gpt2(), GPT2_WAYS_TO_DIFFER)


@cache
def t5_library(directory: Path, *, gated: bool = True) -> SmallLibrary:
    """Four adapters of a small T5: of everything, of the encoder alone, of cross-attention alone."""
    return _library(directory, tiny_t5(gated=gated), T5_WAYS_TO_DIFFER)


def _library(directory: Path, base: Path, ways: Mapping[str, Mapping[str, object]]) -> SmallLibrary:
    adapters = {
        name: tiny_adapter(directory / name, base, seed=seed, **way)  # type: ignore[arg-type]
        for seed, (name, way) in enumerate(ways.items())
    }
    return SmallLibrary(base, adapters)
