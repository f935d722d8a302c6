"""A library made in a notebook: read from folders, kept in a store, opened again, the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from routing.base import load_base
from routing.composed import compose
from routing.errors import BadAdapter, BadManifest, UnknownVersion
from routing.index import RoutingPolicy
from routing.notebook import library_source, open_library, publish, read_experts
from routing.spec import BaseRef
from routing.store import open_store
from tests.routing.libraries import TEXT, SmallLibrary, llama_library
from tests.tiny import tiny_adapter, tiny_gpt2, tiny_llama

POLICY = RoutingPolicy(top_k=2, calibrated=True)
NEUTRAL = torch.arange(60, dtype=torch.int32).view(4, 15)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.mktemp("adapters"))


def test_a_folder_of_adapters_is_read_by_name(tmp_path: Path) -> None:
    tiny_adapter(tmp_path / "mara--plural", rank=2)
    tiny_adapter(tmp_path / "lone", rank=3)
    (tmp_path / "notes").mkdir()
    base = load_base(tiny_llama())

    inside = read_experts(tmp_path, base)
    named = read_experts({"mine": tmp_path / "lone"}, base)

    assert list(inside) == ["lone", "mara/plural"]
    assert {factors.rank for factors in inside["mara/plural"].values()} == {2}
    assert torch.equal(
        named["mine"]["model.layers.0.mlp.up_proj"].a, inside["lone"]["model.layers.0.mlp.up_proj"].a
    )


def test_an_adapter_of_another_base_is_refused_with_its_folder(tmp_path: Path) -> None:
    tiny_adapter(tmp_path / "stray", tiny_gpt2())

    with pytest.raises(BadAdapter) as error:
        read_experts(tmp_path, load_base(tiny_llama()))

    assert error.value.__notes__ == [f"in the folder {tmp_path / 'stray'}"]


def test_a_folder_or_a_reference_name_the_same_base() -> None:
    assert (
        load_base(tiny_llama()).spec
        == load_base(str(tiny_llama())).spec
        == load_base(BaseRef(str(tiny_llama()))).spec
    )


def test_a_published_library_opens_as_what_was_composed(library: SmallLibrary, tmp_path: Path) -> None:
    store, base = open_store(str(tmp_path)), library.base()
    experts = read_experts(library.adapters, base)
    fewer = {name: experts[name] for name in list(experts)[:2]}

    assert publish(store, "tales", base, fewer, policy=POLICY, neutral=NEUTRAL) == 1
    assert publish(store, "tales", base, experts, policy=POLICY, neutral=NEUTRAL) == 2
    assert publish(store, "tales", base, experts, policy=POLICY, neutral=NEUTRAL) == 2

    here = compose(library.base(), experts, POLICY, neutral=NEUTRAL)
    torch.testing.assert_close(open_library(store, "tales").logits(TEXT), here.logits(TEXT))
    assert open_library(store, "tales", 1).experts == tuple(sorted(fewer))
    assert library_source(store, "tales", 1).base == base.ref


def test_gates_are_kept_with_their_experts(library: SmallLibrary, tmp_path: Path) -> None:
    store, base = open_store(str(tmp_path)), library.base()
    experts = read_experts(library.adapters, base)
    gates = {name: {module: f.a[0] * 3 for module, f in factors.items()} for name, factors in experts.items()}
    policy = RoutingPolicy(router="phatgoose", top_k=2)

    publish(store, "tales", base, experts, policy=policy, gates=gates, neutral=NEUTRAL)

    here = compose(library.base(), experts, policy, gates=gates)
    torch.testing.assert_close(open_library(store, "tales").logits(TEXT), here.logits(TEXT))


def test_what_is_not_in_the_store_is_named(library: SmallLibrary, tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    publish(store, "tales", library.base(), {}, neutral=NEUTRAL)

    with pytest.raises(BadManifest, match="no library myths; it has tales"):
        open_library(store, "myths")
    with pytest.raises(UnknownVersion):
        open_library(store, "tales", 9)
