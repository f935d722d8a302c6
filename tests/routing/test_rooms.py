"""Experts of a first assembly are read into their final place, and what finds no room there is packed all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from routing.pack import Update, pack_updates
from routing.packing import load_pack
from routing.rooms import Rooms
from tests.routing.libraries import llama_library
from tests.routing.published import PublishedLibrary
from tests.routing.rows import same_rows

CPU = torch.device("cpu")


@pytest.fixture
def published(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PublishedLibrary:
    return PublishedLibrary(tmp_path / "store", llama_library(tmp_path_factory.getbasetemp() / "rooms"))


def test_factors_are_in_their_final_place_as_soon_as_they_are_read(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed: list[dict[str, Update]] = []
    place = Rooms.place

    def watched(self: Rooms, updates: dict[str, Update]) -> dict[str, Update]:
        placed.append(place(self, updates))
        return placed[-1]

    monkeypatch.setattr(Rooms, "place", watched)
    pack = load_pack(published.store, published.manifest(), published.spec, device=CPU, dtype=torch.float32)

    assert len(placed) == len(pack.experts)
    for name, module in pack.modules.items():
        mine = [one[name] for one in placed if name in one]
        assert [update.a.data_ptr() for update in mine] == [
            module.a[start:].data_ptr() for start, _ in module.spans.tolist()
        ]
        assert mine[0].b.data_ptr() == module.b.data_ptr()


@pytest.mark.parametrize("promised", [1, 2, 5], ids=["less than there is", "as much", "more"])
def test_packs_are_the_same_whatever_ranks_were_promised(published: PublishedLibrary, promised: int) -> None:
    target = published.spec.target_modules[0]
    updates = [
        {
            target.name: Update(
                torch.randn(target.d_in), torch.randn(2, target.d_in), torch.randn(target.d_out, 2).T
            )
        }
        for _ in range(3)
    ]
    rooms = Rooms([{target.name: promised}] * 3, published.spec, device=CPU, dtype=torch.float32)

    module = pack_updates([rooms.place(update) for update in updates])[target.name]

    expected = pack_updates(updates)[target.name]
    assert same_rows(module, expected)


def test_modules_that_the_base_does_not_have_get_no_room(published: PublishedLibrary) -> None:
    rooms = Rooms([{"model.layers.9.nowhere": 10**9}], published.spec, device=CPU, dtype=torch.float32)

    assert rooms.place({}) == {}
