"""Nobody is answered by an expert that was not heard alone first, and one that cannot be stops nothing else."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from routing.errors import ExpertUnavailable, NotFinite
from routing.factors import Factors
from routing.fixed_routes import everywhere
from routing.pack import Pack
from routing.packing import pack_experts
from routing.queries import QueryRouter
from routing.residence import NoRoom
from routing.routed import RoutedModel
from routing.routes import Route, Routing
from tests.routing.libraries import SmallLibrary, t5_library
from tests.routing.published import PublishedLibrary
from tests.serving.following import Follower
from workers.serving import canary, libraries
from workers.serving.canary import Proven, Solos, prove_experts
from workers.serving.health import readiness
from workers.serving.options import Limits
from workers.serving.versions import Version

NAMES = ("ada/plain", "bob/wide", "cy/attention", "di/patterned", "eve/late")
HUGE = {torch.float16: 100.0, torch.float32: 1e19}  # times a sound expert: too large, if hardly
BOUNDLESS = 1e38


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many experts each pass of the canary was for."""
    found: list[int] = []
    wrong = canary._wrong

    def counted(model: RoutedModel, solos: Solos) -> str | None:
        found.append(len(solos.lot))
        return wrong(model, solos)

    monkeypatch.setattr(canary, "_wrong", counted)
    return found


def spoil(published: PublishedLibrary, name: str, scale: float) -> None:
    """Another release of an expert, whose numbers are finite and so many times as large."""
    factors = published.library.experts()[name]
    huge = {module: replace(one, b=one.b * scale) for module, one in factors.items()}
    published.entries[name] = published.keep(name, huge)


def damage(published: PublishedLibrary, name: str) -> Callable[[], None]:
    """Another release of an expert, whose factors have a wrong bit; what is returned mends them."""
    factors = published.library.experts()[name]
    louder = {module: replace(one, b=one.b * 1.5) for module, one in factors.items()}
    published.entries[name] = published.keep(name, louder)
    path: Path = published.store.objects.path(published.entries[name].factors)
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    return lambda: (path.write_bytes(whole), None)[1]


def hear(version: Version, name: str) -> Route:
    return version.queries.route(Routing("single", 1, experts=(name,)), [3, 4, 5])


def crowd(published: PublishedLibrary, count: int) -> None:
    """So many more members, all of them sound: among them one hardly shows in the mean of all."""
    for number in range(count):
        name = f"z{number:02}/sound"
        published.entries[name] = replace(published.entries["cy/attention"], adapter=name)


@pytest.mark.parametrize("dtype", HUGE)
def test_one_expert_among_many_whose_numbers_are_too_large_is_found_and_named(
    published: PublishedLibrary, dtype: torch.dtype
) -> None:
    crowd(published, 40)
    spoil(published, "bob/wide", HUGE[dtype])
    published.publish(1, [name for name in published.entries if name != "bob/wide"])
    follower = Follower(published, dtype=dtype)
    follower.look()

    published.publish(2)
    library = follower.look()

    assert follower.served == 1
    assert "expert bob/wide: heard alone, " in str(library.trouble)


def test_experts_are_heard_many_in_a_pass_and_none_of_them_twice(
    published: PublishedLibrary, passes: list[int]
) -> None:
    published.publish(1, NAMES[:3])
    follower = Follower(published)
    follower.look()
    published.publish(2)
    follower.look()
    published.publish(3, NAMES[:4])
    follower.look()

    assert follower.served == 3
    assert passes == [3, 2]


def test_after_a_refusal_only_what_was_not_proven_is_heard_again(
    published: PublishedLibrary, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "AT_ONCE", 2)
    spoil(published, "eve/late", BOUNDLESS)
    published.publish(1)
    follower = Follower(published)
    follower.look()
    before = list(passes)
    follower.look()

    assert before == [2, 2, 1, 1]  # the last one once more, in a pass of its own, before it is blamed
    assert passes[len(before) :] == [1, 1]


def test_a_version_that_was_proven_is_gone_as_soon_as_nobody_has_it(published: PublishedLibrary) -> None:
    """What is left of a proof must not keep it until garbage is looked for: a new version may need its room."""
    published.publish(1)
    follower = Follower(published)
    gc.disable()
    try:
        live = follower.look().live
        assert live is not None
        pack = weakref.ref(live.pack)
        published.publish(2, ["ada/plain"])
        del live
        follower.look()
        assert pack() is None
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def t5(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return t5_library(tmp_path_factory.mktemp("t5"))


@pytest.mark.parametrize("kind", ["llama", "t5"])
def test_the_one_that_is_blamed_is_the_one(kind: str, small_library: SmallLibrary, t5: SmallLibrary) -> None:
    library = small_library if kind == "llama" else t5
    model, experts = RoutedModel(library.base()), library.experts()
    for name in experts:
        spoilt = {module: replace(one, b=one.b * BOUNDLESS) for module, one in experts[name].items()}
        pack = _packed(model, {**experts, name: spoilt})
        everyone = {place: other for place, other in enumerate(pack.experts) if other != name}
        proven: Proven = set()

        prove_experts(model, pack, everyone, proven)
        with pytest.raises(NotFinite, match=f"expert {name}: "):
            prove_experts(model, pack, dict(enumerate(pack.experts)), proven)

        assert {factors for _base, factors in proven} == set(everyone.values())


def test_each_row_of_a_pass_hears_its_own_expert(small_library: SmallLibrary) -> None:
    model = RoutedModel(small_library.base())
    pack = _packed(model, small_library.experts())
    tokens = torch.tensor([[5, 6, 7]])
    alone = [
        model.logits(tokens, route=QueryRouter(model, pack).route(_single(name), [5]))
        for name in pack.experts
    ]

    solos = Solos(pack, everywhere(pack).seats, range(5))
    together = model.logits(tokens.expand(5, -1), route=solos.route)

    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-4)


def _packed(model: RoutedModel, experts: dict[str, dict[str, Factors]]) -> Pack:
    base = model.base
    return pack_experts(experts, base.spec, device=base.device, dtype=base.dtype)


def _single(name: str) -> Routing:
    return Routing("single", 1, experts=(name,))


# ---------------------------------------------------------------- where factors are read when they are wanted


@pytest.fixture
def largest(published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch) -> int:
    """Bytes of the largest expert; beside everybody's vectors a megabyte of the command line is twice that."""
    size = max(entry.factors_size for entry in published.entries.values())
    monkeypatch.setattr(libraries, "MEGABYTE", 2 * size + published.vectors_size)
    return size


FEW = Limits(expert_megabytes=1, expert_patience=0.0)  # whoever waited for room would fail at once


def test_a_new_release_that_cannot_be_read_is_refused_though_nobody_holds_its_factors(
    published: PublishedLibrary, largest: int
) -> None:
    published.publish(1)
    follower = Follower(published, FEW)
    follower.look()
    mend = damage(published, "bob/wide")
    published.publish(2, ["ada/plain", "bob/wide"])

    refused = follower.look().trouble
    status, served = readiness(follower.libraries)[1]["status"], follower.served
    mend()
    mended = follower.look().trouble

    assert "bob/wide: CorruptObject" in str(refused)
    assert (status, served) == ("degraded", 1)
    assert (mended, follower.served) == (None, 2)


def test_a_new_release_that_gives_no_numbers_is_refused_though_nobody_holds_its_factors(
    published: PublishedLibrary, largest: int
) -> None:
    published.publish(1)
    follower = Follower(published, FEW)
    follower.look()
    spoil(published, "eve/late", BOUNDLESS)
    published.publish(2)

    library = follower.look()

    assert follower.served == 1
    assert "eve/late: NotFinite: heard alone" in str(library.trouble)


def test_a_version_is_proven_while_answers_hold_all_the_memory_for_experts(
    published: PublishedLibrary, largest: int
) -> None:
    published.publish(1)
    follower = Follower(published, FEW)
    live = follower.look().live
    assert live is not None
    held = _fill(live, NAMES)
    published.publish(2, ["cy/attention", "di/patterned", "eve/late"])

    library = follower.look()

    assert held
    assert (follower.served, library.trouble) == (2, None)
    assert follower.counted("fletch_resident_misses_total") == len(held)  # answers', not the canary's


def _fill(version: Version, names: Sequence[str]) -> list[Route]:
    """Hear experts until there is no room for another."""
    held: list[Route] = []
    for name in names:
        try:
            held.append(hear(version, name))
        except NoRoom:
            return held
    raise AssertionError("there is room for all of them")


def test_an_expert_larger_than_the_memory_for_experts_is_unheard_alone_and_reported(
    published: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {name: entry.factors_size for name, entry in published.entries.items()}
    giant = max(sizes, key=sizes.__getitem__)
    monkeypatch.setattr(libraries, "MEGABYTE", 2 * (sizes[giant] - 1))
    published.publish(1)
    follower = Follower(published, FEW)

    library = follower.look()

    assert library.live is not None
    assert set(library.live.pack.experts) == set(sizes) - {giant}
    assert f"expert {giant}: found " in str(library.trouble)
    assert "expected at most" in str(library.trouble)


def test_of_a_first_version_an_expert_that_cannot_be_read_is_missing_alone(
    published: PublishedLibrary, largest: int
) -> None:
    damage(published, "bob/wide")
    published.publish(1)
    follower = Follower(published, FEW)

    library = follower.look()

    assert library.live is not None
    with pytest.raises(ExpertUnavailable):
        hear(library.live, "bob/wide")
    assert "expert bob/wide: CorruptObject" in str(library.trouble)
