"""Base models and experts for benches, made from a shape and a seed: no weights are fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from routing.base import Base, target_layers, widths
from routing.growing import spans_of
from routing.pack import ModulePack, Pack, Update, pack_updates
from routing.routing_vectors import RoutingVectors
from routing.spec import BaseRef, BaseSpec, TargetModule


@dataclass(frozen=True)
class Shape:
    """A Llama's shape."""

    hidden: int
    layers: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    tied: bool = True


SHAPES = {
    "tiny": Shape(256, 4, 688, 4, 2, 2048),
    "small": Shape(512, 8, 1376, 8, 4, 8192),
    "100M": Shape(768, 12, 2048, 12, 4, 32_000),
    "430M": Shape(2048, 8, 5632, 16, 8, 32_000),
    "1B": Shape(2048, 16, 8192, 32, 8, 128_256),
    "8B": Shape(4096, 32, 14_336, 32, 8, 128_256, tied=False),
}


def llama(
    shape: Shape, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> LlamaForCausalLM:
    """A Llama of this shape with seeded random weights, made where they shall be."""
    config = LlamaConfig(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        intermediate_size=shape.inner,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return model.eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def as_published(model: LlamaForCausalLM, files: torch.dtype) -> LlamaForCausalLM:
    """The same model with the numbers that files of this kind of number would have given it."""
    for weight in model.parameters():
        weight.copy_(weight.to(files))
    return model


FILES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def words(vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer that spells every token as a word of its own."""
    named = {f"w{place} ": place for place in range(vocabulary)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(named, unk_token="w0 ")))


def as_base(model: LlamaForCausalLM) -> Base:
    """The model with a description of its target modules; it has no files, hence no digests."""
    modules = tuple(
        TargetModule(name, "linear", *widths(layer), spectral_norm=1.0)
        for name, layer in target_layers(model)
    )
    spec = BaseSpec("bench", "LlamaForCausalLM", None, "", "", "", model.config.vocab_size, 4096, modules)
    return Base(spec, model, words(model.config.vocab_size), model.device, model.dtype, BaseRef("bench"))


def random_pack(spec: BaseSpec, experts: int, *, rank: int) -> Pack:
    """Experts with random factors in all target modules: uniform routing, which is the worst case for caches."""
    generator = torch.Generator().manual_seed(1)
    updates = [
        {module.name: _random_update(module, rank, generator) for module in spec.target_modules}
        for _ in range(experts)
    ]
    return Pack(tuple(f"bench/{place:04d}" for place in range(experts)), pack_updates(updates))


def mixed_pack(spec: BaseSpec, experts: int, *, ranks: Sequence[int]) -> Pack:
    """Experts of these ranks in turn, each with random factors in every other module.

    A pair of one rank shares the modules between its two, so that equally many of each rank meet everywhere.
    """
    generator = torch.Generator().manual_seed(1)
    updates = [
        {
            module.name: _random_update(module, ranks[place // 2 % len(ranks)], generator)
            for number, module in enumerate(spec.target_modules)
            if number % 2 == place % 2
        }
        for place in range(experts)
    ]
    return Pack(tuple(f"bench/{place:04d}" for place in range(experts)), pack_updates(updates))


def pack_on_device(
    spec: BaseSpec, experts: int, *, rank: int, device: torch.device, dtype: torch.dtype
) -> Pack:
    """The like of `random_pack`, each module in one piece where it shall be: for thousands of experts.

    Its experts have no gates, and those take no memory.
    """
    generator = torch.Generator(device).manual_seed(1)

    def normal(rows: int, width: int, kind: torch.dtype) -> torch.Tensor:
        return torch.randn(rows, width, generator=generator, device=device, dtype=kind)

    def module(target: TargetModule) -> ModulePack:
        gates = torch.full((1, 1), torch.nan, device=device).expand(experts, target.d_in)
        return ModulePack(
            members=tuple(range(experts)),
            vectors=RoutingVectors(
                normal(experts, target.d_in, torch.float32).mul_(target.d_in**-0.5), gates
            ),
            a=normal(experts * rank, target.d_in, dtype).mul_(target.d_in**-0.5),
            b=normal(experts * rank, target.d_out, dtype).mul_(0.02),
            spans=spans_of([rank] * experts),
        )

    modules = {target.name: module(target) for target in spec.target_modules}
    return Pack(tuple(f"bench/{place:04d}" for place in range(experts)), modules)


def _random_update(module: TargetModule, rank: int, generator: torch.Generator) -> Update:
    a = torch.nn.functional.normalize(torch.randn(rank, module.d_in, generator=generator), dim=-1)
    return Update(a[0], a, torch.randn(rank, module.d_out, generator=generator) * 0.02)
