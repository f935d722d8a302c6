"""Bare experts that are laid under each other block by block lie as those that are laid all at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from routing import blocks
from routing.pack import Pack
from routing.packing import load_bare, load_pack
from tests.routing.kinds import llama_kinds
from tests.routing.published import PublishedLibrary
from tests.routing.served import CPU, give_gates


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishedLibrary:
    """Experts of every kind, on all, some or few modules; two in the last blocks have gates."""
    folder: Path = tmp_path_factory.mktemp("blocks")
    library = PublishedLibrary(folder / "store", llama_kinds(folder / "adapters"))
    for name in ("di/dora", "flo/lora"):
        give_gates(library, name)
    return library


def load(published: PublishedLibrary, parts: int = 1) -> Pack:
    return load_bare(published.store, published.manifest(), published.spec, device=CPU, parts=parts)


@pytest.mark.parametrize("size", [1, 2, 4, 6])
@pytest.mark.parametrize("parts", [1, 2])
def test_blocks_of_any_size_make_the_same_pack(
    published: PublishedLibrary, size: int, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load(published, parts)
    monkeypatch.setattr(blocks, "SIZE", size)

    found = load(published, parts)

    assert found.modules.keys() == expected.modules.keys()
    for one, other in ((found, expected), (found.judging, expected.judging)):
        for name, module in other.modules.items():
            ours = one.modules[name]
            assert ours.members == module.members
            assert np.array_equal(ours.spans, module.spans)
            assert (ours.a.shape, ours.b.shape, ours.bare) == (module.a.shape, module.b.shape, True)
            assert ours.vectors.absent == module.vectors.absent
            if not ours.vectors.absent:
                torch.testing.assert_close(ours.vectors.prototypes, module.vectors.prototypes, rtol=0, atol=0)
                torch.testing.assert_close(
                    ours.vectors.gates, module.vectors.gates, rtol=0, atol=0, equal_nan=True
                )
    assert found.vector_bytes == expected.vector_bytes


def test_they_are_the_vectors_of_a_pack_with_factors(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "SIZE", 2)
    whole = load_pack(published.store, published.manifest(), published.spec, device=CPU, dtype=torch.float32)

    found = load(published)

    for name, module in whole.modules.items():
        ours = found.modules[name]
        assert ours.members == module.members
        torch.testing.assert_close(ours.vectors.prototypes, module.vectors.prototypes, rtol=0, atol=0)
        torch.testing.assert_close(ours.vectors.gates, module.vectors.gates, rtol=0, atol=0, equal_nan=True)


def test_a_version_of_nobody_has_no_modules(published: PublishedLibrary) -> None:
    manifest = replace(published.manifest(), experts=())

    assert load_bare(published.store, manifest, published.spec, device=CPU).modules == {}
