"""Packs are assembled from a store: verified, taken over where nothing changed, refused where something is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from routing.errors import CorruptObject, MissingObject, RoutingError, WrongBase
from routing.factors import Factors
from routing.index import manifest_of
from routing.pack import Pack
from routing.packing import load_pack, pack_experts
from tests.routing.libraries import llama_library
from tests.routing.published import PublishedLibrary
from tests.routing.rows import same_rows

CPU = torch.device("cpu")


@pytest.fixture
def published(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedLibrary:
    return PublishedLibrary(tmp_path / "store", llama_library(tmp_path_factory.getbasetemp() / "packing"))


def load(
    published: PublishedLibrary, *, previous: Pack | None = None, experts: list[str] | None = None
) -> Pack:
    manifest = published.manifest(experts)
    return load_pack(
        published.store, manifest, published.spec, device=CPU, dtype=torch.float32, previous=previous
    )


def assert_equal(left: Pack, right: Pack) -> None:
    assert left.experts == right.experts
    assert left.modules.keys() == right.modules.keys()
    for name, module in left.modules.items():
        other = right.modules[name]
        assert same_rows(module, other)
        assert torch.equal(module.vectors.prototypes, other.vectors.prototypes)


def test_a_pack_from_the_store_equals_one_from_memory(published: PublishedLibrary) -> None:
    in_memory = pack_experts(published.library.experts(), published.spec, device=CPU, dtype=torch.float32)

    assert_equal(load(published), in_memory)


def test_experts_that_did_not_change_are_taken_over_without_reading_them(published: PublishedLibrary) -> None:
    before = load(published, experts=["ada/plain", "cy/attention", "eve/late"])
    for name in ("cy/attention", "eve/late"):
        published.store.objects.delete(published.entries[name].factors)

    after = load(published, previous=before, experts=["bob/wide", "cy/attention", "eve/late"])

    fresh = pack_experts(
        {name: published.library.experts()[name] for name in after.experts},
        published.spec,
        device=CPU,
        dtype=torch.float32,
    )
    assert_equal(after, fresh)


def test_a_missing_or_damaged_object_is_refused_by_its_digest(published: PublishedLibrary) -> None:
    entry = published.entries["bob/wide"]
    path = published.store.objects.path(entry.factors)
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CorruptObject, match=entry.factors):
        load(published)

    path.write_bytes(content[:100])
    with pytest.raises(CorruptObject, match=entry.factors):
        load(published)

    path.unlink()
    with pytest.raises(MissingObject, match=entry.factors):
        load(published)


def test_who_is_made_from_the_same_as_another_keeps_their_rows(published: PublishedLibrary) -> None:
    entry = published.entries["bob/wide"]
    manifest = manifest_of(published.spec.digest, [replace(entry, adapter="amy/wide"), entry])
    before = load_pack(published.store, manifest, published.spec, device=CPU, dtype=torch.float32)

    after = load_pack(
        published.store, manifest, published.spec, device=CPU, dtype=torch.float32, previous=before
    )

    assert all(after.modules[name].a is module.a for name, module in before.modules.items())
    assert before.modules


def test_an_index_of_another_base_is_refused(published: PublishedLibrary) -> None:
    other = replace(published.spec, name="another")

    with pytest.raises(WrongBase, match=published.spec.digest):
        load_pack(published.store, published.manifest(), other, device=CPU, dtype=torch.float32)


def test_numbers_that_are_too_large_for_the_dtype_are_refused(published: PublishedLibrary) -> None:
    """In common memory they would lie among the rows of others."""
    loud = Factors(torch.ones(1, 32), torch.full((32, 1), 1e5), torch.ones(1))
    entry = published.keep("mal/ory", {"model.layers.0.self_attn.q_proj": loud})
    manifest = manifest_of(published.spec.digest, [entry])

    load_pack(published.store, manifest, published.spec, device=CPU, dtype=torch.float32)
    with pytest.raises(RoutingError, match=r"mal/ory.*NaN or infinity"):
        load_pack(published.store, manifest, published.spec, device=CPU, dtype=torch.float16)


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (Factors(torch.full((1, 32), float("nan")), torch.ones(32, 1), torch.ones(1)), "NaN or infinity"),
        (Factors(torch.ones(1, 31), torch.ones(32, 1), torch.ones(1)), r"found widths \(31, 32\)"),
    ],
)
def test_an_expert_that_cannot_be_right_is_refused_by_name(
    published: PublishedLibrary, factors: Factors, message: str
) -> None:
    entry = published.keep("mal/ory", {"model.layers.0.self_attn.q_proj": factors})
    manifest = manifest_of(published.spec.digest, [entry])

    with pytest.raises(RoutingError, match=f"mal/ory.*{message}"):
        load_pack(published.store, manifest, published.spec, device=CPU, dtype=torch.float32)
