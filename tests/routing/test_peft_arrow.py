"""Our Arrow beside peft's, on the same adapters: the prototypes against float64, and the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import ArrowConfig, create_arrow_model
from transformers import AutoModelForCausalLM

from routing.adapter import read_adapter
from routing.base import load_base
from routing.composed import ComposedModel, compose
from routing.index import RoutingPolicy
from routing.notebook import read_experts
from tests.routing.libraries import TEXT
from tests.tiny import tiny_adapter, tiny_llama

ROUTER = "arrow_router"
NAMES = ["ada", "bob", "cy"]


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What peft can route: one rank, one set of targets."""
    folder = tmp_path_factory.mktemp("alike")
    for seed, name in enumerate(NAMES):
        tiny_adapter(folder / name, rank=4, alpha=8 + seed, seed=seed)
    return folder


@pytest.fixture(scope="module")
def ours(adapters: Path) -> ComposedModel:
    base = load_base(tiny_llama())
    return compose(base, read_experts(adapters, base), RoutingPolicy(top_k=len(NAMES), temperature=0.7))


def peft_model(adapters: Path, *, top_k: int) -> Any:
    """peft's own composition, with the prototypes that it finds by fifteen power iterations."""
    config = ArrowConfig(top_k=top_k, router_temperature=0.7, rng_seed=0)
    base = AutoModelForCausalLM.from_pretrained(tiny_llama())
    paths = [str(adapters / name) for name in NAMES]
    return create_arrow_model(base_model=base, task_specific_adapter_paths=paths, arrow_config=config).eval()


def arrow_layers(model: Any) -> dict[str, Any]:
    """peft's routing layers by the name of the module that they are at."""
    return {
        name.removeprefix("base_model.model."): layer.lora_arrow[ROUTER]
        for name, layer in model.named_modules()
        if hasattr(layer, "lora_arrow")
    }


@torch.no_grad()
def logits(model: Any, tokens: tuple[int, ...]) -> torch.Tensor:
    return model(torch.tensor([tokens])).logits[0]


@pytest.mark.parametrize("top_k", [1, 2, 3])
def test_with_equal_prototypes_the_answers_are_equal(ours: ComposedModel, adapters: Path, top_k: int) -> None:
    theirs, tokens = peft_model(adapters, top_k=top_k), ours.tokens(TEXT)
    logits(theirs, tokens)  # peft makes its prototypes in the first pass
    for name, layer in arrow_layers(theirs).items():
        layer.prototypes = ours.pack.modules[name].vectors.prototypes
    policy = RoutingPolicy(top_k=top_k, temperature=0.7)

    here = ComposedModel(ours.routed, ours.pack, policy).logits(TEXT)

    torch.testing.assert_close(here, logits(theirs, tokens), atol=1e-4, rtol=1e-4)


def test_our_prototypes_are_the_svds_and_pefts_only_near_them(ours: ComposedModel, adapters: Path) -> None:
    theirs = peft_model(adapters, top_k=1)
    logits(theirs, ours.tokens(TEXT))
    layers, spec = arrow_layers(theirs), ours.routed.base.spec
    mine, their_own = [], []
    for row, name in enumerate(NAMES):
        for module, update in read_adapter(adapters / name, spec).low_rank.items():
            exact = torch.linalg.svd(update.b.double() @ update.a.double()).Vh[0]
            mine.append(float((exact @ ours.pack.modules[module].vectors.prototypes[row].double()).abs()))
            their_own.append(float((exact @ layers[module].prototypes[row].double()).abs()))

    assert min(mine) > 1 - 1e-6
    assert min(their_own) < 0.999, "power iterations have not converged where two singular values are near"
    assert sum(their_own) / len(their_own) > 0.9
