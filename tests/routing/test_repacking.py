"""A pack made out of another one is the pack that would have been made anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from random import Random
from typing import Any

import pytest
import torch

from routing.pack import Moments, Pack, Update, pack_updates
from routing.repacking import repacked
from routing.scaled_pack import ScaledPart
from routing.scales import Scales
from routing.sketches import FEWEST, sketched

WIDTHS = {"q": (6, 4), "v": (5, 7), "down": (3, 3)}
Expert = Mapping[str, Update]


def expert(seed: int, *, measured: bool = True) -> Expert:
    """Of some modules, of any rank, some with gates, some with scales."""
    draw, chance = Random(seed), torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=chance)

    def update(d_in: int, d_out: int) -> Update:
        rank = draw.randrange(0, 4)
        scales = Scales(some(d_out).abs(), None, some(d_in)) if draw.random() < 0.4 else None
        return Update(
            some(d_in),
            some(rank, d_in),
            some(rank, d_out),
            some(d_in) if draw.random() < 0.5 else None,
            {"arrow": Moments(some(), some()), "gate": Moments(some(), some())} if measured else {},
            None if scales is None else ScaledPart(scales, some(2, d_in), some(2)),
        )

    return {name: update(*widths) for name, widths in WIDTHS.items() if draw.random() < 0.7}


def same(one: Any, other: Any) -> bool:
    """Equal all the way down; NaN is NaN."""
    if isinstance(one, torch.Tensor):
        return torch.equal(torch.nan_to_num(one, nan=1e9), torch.nan_to_num(other, nan=1e9))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dataclass_fields__"):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return bool(one == other)


@pytest.mark.parametrize("seed", range(40))
def test_it_has_the_same_tensors_as_one_made_anew(seed: int) -> None:
    draw = Random(seed)
    old = [expert(seed * 100 + place) for place in range(draw.randrange(0, 9))]
    pack = Pack(tuple(f"old/{place}" for place in range(len(old))), pack_updates(old))
    stay = [place for place in range(len(old)) if draw.random() < 0.7]
    new = [expert(seed * 100 + 50 + place, measured=False) for place in range(draw.randrange(0, 4))]
    order: list[int | Expert] = [*stay, *new]
    if draw.random() < 0.5:
        draw.shuffle(order)
    kept = {place: one for place, one in enumerate(order) if isinstance(one, int)}
    fresh = {place: one for place, one in enumerate(order) if not isinstance(one, int)}

    found = repacked(pack, kept, fresh)

    expected = pack_updates([old[one] if isinstance(one, int) else one for one in order])
    assert found.keys() == expected.keys()
    for name, module in expected.items():
        for field in fields(module):
            if field.name != "moments":
                assert same(getattr(found[name], field.name), getattr(module, field.name)), field.name
        for kind, moments in module.moments.items():
            assert same(found[name].moments[kind], moments), kind


def test_two_that_are_made_from_one_lie_there_twice() -> None:
    pack = Pack(("ada/one",), pack_updates([expert(3)]))

    twice = repacked(pack, {0: 0, 1: 0}, {})

    assert all(module.members == (0, 1) for module in twice.values())
    assert all(same(module.update(0), module.update(1)) for module in twice.values())


@pytest.mark.parametrize("asked", [True, False])
def test_a_sketch_comes_out_of_the_one_before_if_that_is_there(*, asked: bool) -> None:
    pack = many(FEWEST + 1)
    if asked:
        assert pack.modules["q"].sketch is not None
    fresh = {"q": update_of(99)}
    kept = {place: place - (place > 3) for place in range(FEWEST + 2) if place != 3}

    module = repacked(pack, kept, {3: fresh})["q"]

    assert (module.vectors.made is not None) is asked
    found, expected = module.sketch, sketched(module.vectors.prototypes.numpy())
    assert found is not None
    assert expected is not None
    assert [part.tolist() for part in found] == [part.tolist() for part in expected]
    assert ("sketch" in vars(pack.modules["q"].vectors)) is asked


def test_it_goes_on_from_version_to_version() -> None:
    """Even where nobody asked for it in between."""
    pack = many(FEWEST)
    assert pack.modules["q"].sketch is not None

    for size in (FEWEST + 1, FEWEST + 2):
        modules = repacked(
            pack, {place: place for place in range(size - 1)}, {size - 1: {"q": update_of(size)}}
        )
        pack = Pack((*pack.experts, f"new/{size}"), modules)

    assert pack.modules["q"].vectors.made is not None


def test_one_sketch_does_for_all_that_share_the_vectors() -> None:
    pack = many(FEWEST)
    before = pack.modules["q"]

    after = repacked(pack, {place: place for place in range(FEWEST)}, {})["q"]
    told = replace(after, moments={"arrow": Moments(torch.zeros(FEWEST), torch.ones(FEWEST))})

    assert before.sketch is not None
    assert after.sketch is before.sketch
    assert told.sketch is before.sketch


def many(experts: int) -> Pack:
    """So many that there is a sketch."""
    names = tuple(f"old/{place}" for place in range(experts))
    return Pack(names, pack_updates([{"q": update_of(place)} for place in range(experts)]))


def update_of(seed: int) -> Update:
    chance = torch.Generator().manual_seed(seed)
    prototype, a, b = (torch.randn(shape, generator=chance) for shape in ((7,), (1, 7), (1, 4)))
    return Update(prototype, a, b)


def test_a_module_that_nobody_new_touches_lies_there_once() -> None:
    old, fresh = (
        [expert(3), expert(4), expert(5)],
        {"q": Update(torch.randn(6), torch.randn(1, 6), torch.randn(1, 4))},
    )
    pack = Pack(tuple(f"old/{place}" for place in range(3)), pack_updates(old))

    found = repacked(pack, {1: 0, 2: 1, 3: 2}, {0: fresh})

    for name, module in pack.modules.items():
        shared = name != "q"
        assert (found[name].a is module.a) is shared
        assert (found[name].vectors.prototypes is module.vectors.prototypes) is shared
        assert found[name].members[-len(module) :] == tuple(member + 1 for member in module.members)
    assert len(pack.modules) > 1
