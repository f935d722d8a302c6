"""A base that does not fit into the memory it is given answers as one that does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from routing.base import Base, load_base
from routing.composed import Answer, ComposedModel, compose
from routing.errors import WrongBase
from routing.spec import BaseRef
from routing.spread import Spread, parsed, parts, places
from tests.routing.kinds import factors_of, gpt2_kinds, llama_kinds
from tests.routing.libraries import TEXT, SmallLibrary, t5_library
from tests.tiny import tiny_gpt2, tiny_llama

LIBRARIES: dict[str, Callable[[Path], SmallLibrary]] = {
    "llama": llama_kinds,
    "gpt2": gpt2_kinds,
    "t5": t5_library,
}
ON_DISK = "disk"


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return LIBRARIES[request.param](tmp_path_factory.mktemp(request.param))


def cramped(library: SmallLibrary) -> Base:
    """The base with room for three quarters of it."""
    whole = library.base()
    size = sum(weight.nbytes for weight in whole.model.parameters())
    return load_base(BaseRef(str(library.folder)), spec=whole.spec, spread=Spread({"cpu": size * 3 // 4}))


def spoken(model: ComposedModel) -> Answer:
    return model.generate(TEXT, max_tokens=6)


def test_experts_of_every_kind_answer_through_a_base_that_lies_in_its_files(library: SmallLibrary) -> None:
    experts = factors_of(library, library.base())
    spread = cramped(library)
    there, here = compose(spread, experts), compose(library.base(), experts)

    assert ON_DISK in spread.model.hf_device_map.values()
    assert torch.equal(there.logits(TEXT), here.logits(TEXT))
    assert spoken(there).text == spoken(here).text
    assert spoken(there).shares == spoken(here).shares


def test_a_base_that_fits_into_one_place_lies_there_whole() -> None:
    base = load_base(str(tiny_llama()), spread=Spread({"cpu": "1GiB"}))

    assert base.device == torch.device("cpu")
    assert base.places is not None
    assert set(base.places.values()) == {torch.device("cpu")}
    assert parts(base.model) == {"": "cpu"}


def test_a_spread_base_is_compared_with_what_is_pinned() -> None:
    spec = load_base(str(tiny_llama())).spec

    with pytest.raises(WrongBase, match="weights_digest"):
        load_base(str(tiny_gpt2()), spec=spec, spread=Spread())


class Mapped:
    """A model of which only the map is known."""

    def __init__(self, **chosen: object) -> None:
        self.hf_device_map = {name.replace("__", "."): place for name, place in chosen.items()}


def test_experts_go_to_the_device_that_computes_their_module() -> None:
    model = Mapped(wte=0, h__0=0, h__1=1, h__10=1, h__2="cpu", h__3="disk", head="cpu")
    modules = ["h.0.q", "h.1.mlp.up", "h.10.q", "h.2.q", "h.3.q"]
    first, second = torch.device("cuda", 0), torch.device("cuda", 1)

    found = places(model, modules)

    assert found == dict(zip(modules, [first, second, second, first, first], strict=True))


def test_without_a_gpu_all_is_computed_on_the_processor() -> None:
    model = Mapped(**{"": "cpu", "h__1": "disk"})

    assert set(places(model, ["h.0.q", "h.1.q"]).values()) == {torch.device("cpu")}


def test_room_is_said_device_by_device() -> None:
    assert parsed(["0=20GiB", "cpu=60GiB"]) == Spread({0: "20GiB", "cpu": "60GiB"})
    assert parsed(["auto"]) == Spread()


@pytest.mark.parametrize("given", [["auto", "0=20GiB"], ["0"], ["gpu=3GiB"], ["cpu="]])
def test_what_is_no_room_is_refused(given: list[str]) -> None:
    with pytest.raises(ValueError, match="expected auto alone, or DEVICE=ROOM"):
        parsed(given)
