"""What a store holds of plain LoRA experts keeps its bytes: every digest here is in somebody's index already.

The tensors are written down, not computed, so that no linear algebra library has a say. Who changes one of
these digests changes the format: every index version that is kept anywhere would be another one.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from routing.classifier import Classifier
from routing.factors import Factors
from routing.index import ExpertEntry, RoutingPolicy, manifest_of
from routing.profiles import Profile
from routing.prototypes import RoutingVector
from routing.spec import BaseSpec, TargetModule
from routing.store import IndexStore, open_store

UP, DOWN = "layer.0.up", "layer.0.down"
SPEC = BaseSpec(
    "little",
    "LlamaForCausalLM",
    "main",
    config_digest="c" * 64,
    tokenizer_digest="d" * 64,
    weights_digest="e" * 64,
    vocabulary=10,
    context=20,
    target_modules=(TargetModule(UP, "linear", 3, 4, 1.5), TargetModule(DOWN, "conv1d", 4, 3, 0.25)),
)
FACTORS = {
    UP: Factors(
        torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]]),
        torch.tensor([[4.0, 0.0], [0.0, 2.0], [0.0, 0.0], [3.0, 0.0]]),
        torch.tensor([5.0, 2.0]),
    ),
    DOWN: Factors(
        torch.tensor([[0.5, 0.5, -0.5, 0.5]]), torch.tensor([[1.5], [0.0], [-2.0]]), torch.tensor([2.5])
    ),
}
VECTORS = {name: RoutingVector(module.a[0], module.sigma) for name, module in FACTORS.items()}
GATED = {name: RoutingVector(one.prototype, one.sigma, one.prototype / 4) for name, one in VECTORS.items()}
PROFILE = Profile(
    "little: of boats", "base:1", torch.tensor([0.25, -1.0]), torch.tensor([[1.0, 2.0], [0.5, -0.125]])
)
HEAD = Classifier(
    "base:1",
    ("ada/boats", "bob/gulls"),
    torch.tensor([0.0, 1.0]),
    torch.tensor([1.0, 2.0]),
    torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]),
    torch.tensor([0.5, 0.25, 0.0]),
)
DIGESTS = {
    "base": "948ea384ef5923915322fd4d4d4d20ff79b10cdecf63d798eecf156ebd594b7c",
    "vectors": "f36f9b3f88ad8e36954512311105c44ffe73084d45c193cb16c24b0631901fb6",
    "vectors with gates": "cfc2e4c6163fe8e1cd4ccfbe757d93b6fbff2f2bb4a8ee47d595271ca11f0a0a",
    "factors": "d6151ca0f213d917414bbf07468f999545680424d91b6cf31684538eea4fce1e",
    "profile": "65b5c19efa3d20f12b4b86c2cb2d56b4c84736aa752e7ea180ee6543425abe4a",
    "neutral text": "2d3f965658efdfdeeefaa67dc8f15c5f8b56f29fe327fa502b119fe2dcc12c4e",
    "classifier": "aa353bbc9c5047772b2005a8574050804ee8cde7d46503fe95dfae8dab7699b0",
    "a plain manifest": "35b5b80dae8c71d8aa68ca118d0b126cdc3e57e93b1cfc4dcdccd6faced16c0b",
    "a manifest with everything": "ed8afc83c0465485f20a546f3989e3182f35de048e145a1f5cf084a4bb63ab5c",
}


@pytest.fixture
def store(tmp_path: Path) -> IndexStore:
    return open_store(str(tmp_path))


def found(store: IndexStore) -> dict[str, str]:
    plain, gated = store.put_expert(VECTORS, FACTORS), store.put_expert(GATED, FACTORS)
    profile, profile_size = store.put_profile(PROFILE)
    sizes = (plain.vectors_size, plain.factors_size)
    bare = ExpertEntry("ada/boats", "a" * 40, plain.vectors, plain.factors, *sizes)
    introduced = ExpertEntry(
        "bob/gulls", "b" * 40, gated.vectors, gated.factors, *sizes, profile, profile_size
    )
    base = store.put_base(SPEC)
    neutral = store.put_neutral(torch.arange(6).view(2, 3))
    classifier, _size = store.put_classifier(HEAD)
    policy = RoutingPolicy(top_k=1, shortlist=1, prior_abstain=True)
    plainest = manifest_of(base, [bare], policy=RoutingPolicy(top_k=2))
    whole = manifest_of(base, [introduced, bare], policy=policy, calibration=neutral, classifier=classifier)
    return {
        "base": base,
        "vectors": plain.vectors,
        "vectors with gates": gated.vectors,
        "factors": plain.factors,
        "profile": profile,
        "neutral text": neutral,
        "classifier": classifier,
        "a plain manifest": store.put_manifest(plainest),
        "a manifest with everything": store.put_manifest(whole),
    }


def test_every_object_has_the_bytes_that_it_always_had(store: IndexStore) -> None:
    assert found(store) == DIGESTS


def test_the_same_experts_read_back_and_kept_again_are_the_same_objects(store: IndexStore) -> None:
    kept = store.put_expert(GATED, FACTORS)
    entry = ExpertEntry("bob/gulls", "b" * 40, kept.vectors, kept.factors, 0, 0)

    assert store.put_expert(store.read_vectors(entry), store.read_factors(entry)) == kept
