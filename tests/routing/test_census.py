"""What routing vectors will take in memory is foreseen from a few of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing import census as module
from routing import excerpts
from routing.census import NARROWEST, census
from routing.packing import load_bare
from tests.routing.kinds import llama_kinds
from tests.routing.published import PublishedLibrary
from tests.routing.served import CPU, give_gates


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishedLibrary:
    folder = tmp_path_factory.mktemp("census")
    published = PublishedLibrary(folder / "store", llama_kinds(folder / "adapters"))
    for name in ("ada/lora", "flo/lora"):
        give_gates(published, name)
    return published


@pytest.mark.parametrize("fewest", [1, 3])
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_size_of_vectors_is_foreseen_with_the_gates_of_few(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch, parts: int, fewest: int
) -> None:
    monkeypatch.setattr(excerpts, "FEWEST", fewest)
    manifest, store = published.manifest(), published.store

    foreseen = census(store, manifest.experts).size(parts)

    held = load_bare(store, manifest, published.spec, device=CPU, parts=parts)
    assert foreseen == held.vector_bytes


def test_the_largest_excerpt_that_fits_is_held(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpts, "FEWEST", 1)
    found = census(published.store, published.manifest().experts)

    assert found.parts_for(found.size(1)) == 1
    assert found.parts_for(found.size(1) - 1) == 2
    sizes = [found.size(2**times) for times in range(6)]
    assert sizes == sorted(sizes, reverse=True)
    assert found.parts_for(0) == NARROWEST


def test_of_many_sizes_some_are_looked_at_and_the_others_are_not_taken_for_less(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries, store = published.manifest().experts, published.store
    everybody = census(store, entries)
    monkeypatch.setattr(module, "MOST_SIZES", 2)

    found = census(store, entries)

    assert len(found.shapes) == 2 < len(everybody.shapes)
    assert found.size(1) >= everybody.size(1)


def test_who_cannot_be_read_counts_as_others_of_that_size_or_as_in_the_store(
    published: PublishedLibrary,
) -> None:
    store, entry = published.store, published.entries["flo/lora"]
    lost = replace(entry, adapter="lost/lora", vectors="0" * 64)

    assert census(store, [lost, entry]).size(1) == census(store, [entry, entry]).size(1)
    assert census(store, [lost, lost]).size(2) == entry.vectors_size
    assert census(store, []).size(1) == 0
