"""A pack made out of another one is the pack that would have been made anew."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import fields, replace
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from routing import mixing
from routing.growing import Growing, Half, growing, moved
from routing.pack import ModulePack, Moments, Pack, Update, pack_updates
from routing.repacking import repacked
from routing.routers import Selection
from routing.scaled_pack import ScaledPart
from routing.scales import Scales
from routing.scores import SCORES
from routing.sketches import FEWEST, sketched
from tests.routing.rows import same_rows

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
            if field.name not in {"moments", "a", "b", "spans", "growing"}:
                assert same(getattr(found[name], field.name), getattr(module, field.name)), field.name
        assert same_rows(found[name], module)
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


def grown(members: list[Expert]) -> Pack:
    """A pack of these to which more can be added, since one was added before."""
    count = len(members)
    first = Pack(tuple(map(str, range(count - 1))), pack_updates(members[:-1]))
    kept = {place: place for place in range(count - 1)}
    return Pack(tuple(map(str, range(count))), repacked(first, kept, {count - 1: members[-1]}))


@pytest.mark.parametrize("seed", range(6))
def test_versions_that_follow_each_other_share_their_rows_and_none_changes_another(seed: int) -> None:
    draw = Random(seed)
    members = [expert(1000 * seed + number, measured=False) for number in range(30)]
    pack = grown(members)
    versions = [(pack, members)]
    shared = 0
    for step in range(25):
        old, before = versions[-1] if draw.random() < 0.8 else draw.choice(versions)
        stay = [place for place in range(len(before)) if draw.random() < 0.97]
        new = [expert(1000 * seed + 100 + 2 * step + one, measured=False) for one in range(draw.randrange(3))]
        mixed: list[int | Expert] = [*stay, *new]
        draw.shuffle(mixed)
        kept = {place: one for place, one in enumerate(mixed) if isinstance(one, int)}
        fresh = {place: one for place, one in enumerate(mixed) if not isinstance(one, int)}
        modules = repacked(old, kept, fresh)
        shared += sum(
            modules[name].growing is module.growing for name, module in old.modules.items() if name in modules
        )
        now = [before[one] if isinstance(one, int) else one for one in mixed]
        versions.append((Pack(tuple(map(str, range(len(now)))), modules), now))

    for version, present in versions:
        for name, module in pack_updates(present).items():
            assert same_rows(version.modules[name], module)
    assert shared > 25


def test_rows_that_are_nobodys_are_heard_by_nobody() -> None:
    members = [expert(7000 + number, measured=False) for number in range(40)]
    pack = grown(members)
    stay = [place for place in range(40) if place % 8]
    kept = dict(enumerate(reversed(stay)))

    found = repacked(pack, kept, {})

    hidden = torch.randn(5, 6)
    selection = Selection(torch.tensor([[0, 1]] * 5), torch.tensor([[0.25, 0.75]] * 5))
    module, anew = found["q"], pack_updates([members[place] for place in kept.values()])["q"]
    assert module.growing is pack.modules["q"].growing
    assert len(module.a) > module.rows
    for way in (mixing.add_one_by_one, mixing.add_gathered, mixing.add_dense, mixing.add_grouped, mixed):
        outputs = torch.zeros(2, 5, 4)
        for output, one in zip(outputs, (module, anew), strict=True):
            way(output, hidden, selection, one)
        torch.testing.assert_close(outputs[0], outputs[1])
        assert outputs.any()
    for kind in ("subspace", "delta-norm"):
        torch.testing.assert_close(SCORES[kind](hidden, module), SCORES[kind](hidden, anew))


def mixed(output: torch.Tensor, hidden: torch.Tensor, selection: Selection, experts: ModulePack) -> None:
    """As a server on a CPU does."""
    with torch.inference_mode():
        mixing.add_mixture(output, hidden, selection, experts)


def test_what_has_no_room_or_is_mostly_nobodys_is_laid_out_anew() -> None:
    one = [Half(torch.ones(2, 6), torch.ones(2, 4))]
    room = growing(16, 6, 4, device=torch.device("cpu"), dtype=torch.float32)
    for _ in range(9):
        assert room.add(one) is not None

    assert room.spare_bytes == 0
    assert room.add(one) is None
    again, now = moved(torch.randn(18, 6), torch.randn(18, 4), np.array([[4, 6], [0, 2]]), 2)
    assert now.tolist() == [[0, 2], [2, 4]]
    assert again.add(one, owned=1) is None
    laid = again.add(one, owned=4)
    assert laid is not None
    assert laid.added.tolist() == [[4, 6]]


def test_threads_that_add_at_once_get_rows_of_their_own() -> None:
    room = growing(400, 3, 3, device=torch.device("cpu"), dtype=torch.float32)

    def add(number: int) -> tuple[int, list[int]]:
        laid = room.add([Half(torch.full((2, 3), float(number)), torch.zeros(2, 3))])
        assert laid is not None
        return number, laid.added[0].tolist()

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(add, range(200)))

    laid = room.add([])
    assert laid is not None
    assert sorted(first for _, (first, _) in found) == list(range(0, 400, 2))
    assert all(laid.a[first, 0] == number for number, (first, _) in found)


class Slow(list[Half]):
    """Experts of whom nobody writes a row before they are let go."""

    def __init__(self, halves: list[Half]) -> None:
        super().__init__(halves)
        self.asked, self.begun, self.go = 0, threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Half]:
        self.asked += 1
        if self.asked > 1:  # their ranks were asked for before
            self.begun.set()
            self.go.wait(10)
        return super().__iter__()


def unwritten() -> Growing:
    """Room in which nothing but NaN was before."""
    return Growing(torch.full((8, 3), torch.nan), torch.full((8, 2), torch.nan))


def test_nobody_gets_rows_that_somebody_else_is_still_writing() -> None:
    room, half = unwritten(), Half(torch.ones(2, 3), torch.ones(2, 2))
    slow = Slow([half])

    def add() -> bool:
        laid = room.add([half])
        return laid is not None and bool(laid.b.isfinite().all())

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(room.add, slow)
        assert slow.begun.wait(10)
        second = threads.submit(add)
        wait([second], timeout=0.2)
        slow.go.set()

        assert first.result() is not None
        assert second.result()


def test_rows_that_could_not_be_written_are_not_among_those_of_who_comes_next() -> None:
    room, half = unwritten(), Half(torch.ones(2, 3), torch.ones(2, 2))
    with pytest.raises(RuntimeError):
        room.add([half, Half(torch.ones(2, 5), torch.ones(2, 2))])

    laid = room.add([half])

    assert laid is not None
    assert len(laid.b) == 2
    assert laid.b.isfinite().all()


def test_whether_experts_can_be_added_is_asked_of_what_all_versions_have_there() -> None:
    """Private experts who came and went have left rows behind that no version in memory counts as its own."""
    members: list[Expert] = [{"q": update_of(place)} for place in range(80)]
    pack = grown(members)
    gone = repacked(pack, dict(enumerate(range(18, 80))), {})
    version = Pack(tuple(map(str, range(62))), gone)
    everybody = {place: place for place in range(62)}
    row, growing = (7 + 4) * 4, version.modules["q"].growing
    assert version.takes(row, version.owned_bytes)
    assert version.owned_bytes == 62 * row < version.factor_bytes

    for guest in range(4):
        repacked(version, everybody, {62: {"q": update_of(100 + guest)}})

    takes = version.takes(row, version.owned_bytes)
    follows = repacked(version, everybody, {62: {"q": update_of(200)}})
    assert takes is (follows["q"].growing is growing)
    assert not takes
