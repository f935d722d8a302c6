"""Packs that hold vectors at some of each expert's modules answer as those that hold all of them."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from routing import excerpts
from routing.calibration import calibrated_pack
from routing.errors import RoutingError
from routing.evidence import recent_evidence
from routing.excerpts import FEWEST, excerpt_of, excerpted
from routing.index import ExpertEntry
from routing.pack import ModulePack, Pack, pack_placed, updates_of
from routing.packing import join_guests, load_bare
from routing.priors import Known
from routing.prototypes import RoutingVector
from routing.queries import QueryRouter
from routing.residence import Residence
from routing.resident import Shelf, Warm
from routing.routes import Routing
from routing.scores import FROM_VECTORS, SCORES
from routing.store import IndexStore
from tests.routing.served import CPU, NEUTRAL, PLENTY, WAYS, Served, served_kinds

PARTS = 4
BY_EVIDENCE = ("shortlist", "prior")  # ways that ask every expert's vectors about the prompt


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return served_kinds(tmp_path_factory.mktemp("excerpts"))


@pytest.fixture
def small(served: Served, monkeypatch: pytest.MonkeyPatch) -> Pack:
    """A quarter of each expert's modules."""
    monkeypatch.setattr(excerpts, "FEWEST", 1)
    return served.load_bare(PARTS)


def test_the_order_of_reading_changes_no_excerpt(served: Served) -> None:
    updates = updates_of(served.whole, 0)
    turned = dict(reversed(updates.items()))

    assert excerpt_of(turned, 2).keys() == excerpt_of(updates, 2).keys()
    assert excerpted([f"layers.{n}" for n in range(20)], 2) == list(
        excerpt_of({f"layers.{n}": updates[next(iter(updates))] for n in (*range(10, 20), *range(10))}, 2)
    )


@given(st.integers(1, 300), st.integers(0, 9))
def test_smaller_excerpts_are_parts_of_larger_ones_and_of_enough_modules(count: int, times: int) -> None:
    modules = [f"m{place}" for place in range(count)]

    found = excerpted(modules, 2**times)

    assert len(found) == max(min(FEWEST, count), -(-count // 2**times))
    assert found == [name for name in modules if name in set(found)]
    assert set(found) >= set(excerpted(modules, 2 ** (times + 1)))


@pytest.mark.parametrize("kinds", [2, 3, 4, 7])
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_an_excerpt_is_of_every_kind_and_depth(kinds: int, parts: int) -> None:
    modules = [f"{layer} {kind}" for layer in range(32) for kind in range(kinds)]

    found = excerpted(modules, parts)

    assert {name.split()[1] for name in found} == {str(kind) for kind in range(kinds)}
    depths = [-1, *(int(name.split()[0]) for name in found), 32]
    assert max(later - earlier for earlier, later in pairwise(depths)) <= 3 * parts


@pytest.mark.parametrize("way", [way for way in WAYS if way not in BY_EVIDENCE])
def test_a_request_that_fits_is_answered_as_with_all_vectors_in_memory(
    served: Served, small: Pack, way: str
) -> None:
    wanted = WAYS[way]
    whole = QueryRouter(served.model, served.whole).route(wanted, served.prompt)

    ours = served.router(bare=small).route(wanted, served.prompt)

    ids = torch.tensor([served.prompt])
    torch.testing.assert_close(
        served.model.logits(ids, route=ours), served.model.logits(ids, route=whole), rtol=1e-4, atol=1e-4
    )
    assert served.say(ours) == served.say(whole)


@pytest.mark.parametrize("way", BY_EVIDENCE)
def test_evidence_of_all_modules_is_that_of_all_vectors(
    served: Served, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(excerpts, "FEWEST", 100)
    whole = QueryRouter(served.model, served.whole).route(WAYS[way], served.prompt)

    ours = served.router(bare=served.load_bare(PARTS)).route(WAYS[way], served.prompt)

    assert served.say(ours) == served.say(whole)


def test_tokens_are_routed_by_gates_and_measured_prototypes_that_came_with_factors(
    served: Served, small: Pack
) -> None:
    wanted = Routing("evidence", top_k=2)
    whole = QueryRouter(served.model, served.whole).route(wanted, served.prompt)

    ours = served.router(bare=small).route(wanted, served.prompt)

    ids = torch.tensor([served.prompt])
    torch.testing.assert_close(
        served.model.logits(ids, route=ours), served.model.logits(ids, route=whole), rtol=1e-4, atol=1e-4
    )


def test_prompts_are_judged_by_the_excerpts_modules_alone(served: Served, small: Pack) -> None:
    kept = {}
    for place in range(len(served.whole.experts)):
        kept[place] = excerpt_of(updates_of(served.whole, place), PARTS)
    apart = replace(served.whole, modules=pack_placed(kept), usual=None)

    ours = Known(served.model, small).evidence(served.prompt)

    assert small.vector_bytes < served.bare.vector_bytes / 2
    torch.testing.assert_close(ours, Known(served.model, apart).evidence(served.prompt))
    assert not torch.allclose(ours, Known(served.model, served.whole).evidence(served.prompt))


def test_nothing_is_worked_out_with_vectors_that_are_elsewhere(served: Served, small: Pack) -> None:
    """As torch would: its product of a matrix with one that has no memory is a matrix of numbers."""
    module = next(iter(small.modules.values()))
    hidden = torch.randn(2, module.vectors.prototypes.shape[1])

    for kind, score in SCORES.items():
        with pytest.raises(RoutingError, match="not in memory, expected them to be read"):
            score(hidden, module)
        if kind not in FROM_VECTORS:
            with pytest.raises(RoutingError, match="factors are not in memory"):
                score(hidden, next(iter(served.bare.modules.values())))
    with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
        recent_evidence(served.model, small, served.prompt, score=SCORES["arrow"])


def test_what_does_not_fit_is_narrowed_by_the_excerpt(served: Served, small: Pack) -> None:
    resident = served.resident(bare=small)
    limit = 2 * resident.need(range(6)) - 1  # half of it there always is
    said = QueryRouter(served.model, small).scores("evidence", served.prompt).experts

    ours = served.router(limit, bare=small).route(WAYS["arrow"], served.prompt)

    assert ours.narrowed is not None
    best = said.argsort(descending=True)[: ours.narrowed.kept].tolist()
    assert {member for seat in ours.seats.values() for member in seat.module.members} == set(best)


def test_what_is_set_aside_for_others_changes_no_answer(served: Served, small: Pack) -> None:
    shelf = Shelf(Residence(2 * served.resident(bare=small).need(range(6)) - 1))
    resident = served.resident(shelf=shelf, bare=small)
    router = QueryRouter(served.model, small, resident=resident)
    before = router.route(WAYS["arrow"], served.prompt).narrowed

    aside = shelf.near.set_aside("other", shelf.near.whole // 2)

    assert before is not None
    assert router.route(WAYS["arrow"], served.prompt).narrowed == before
    del aside


def test_vectors_that_come_with_factors_count_in_the_memory(served: Served, small: Pack) -> None:
    place = served.bare.places["ada/lora"]
    entry = served.entry("ada/lora")

    assert served.resident().need([place]) == entry.factors_size
    assert served.resident(bare=small).need([place]) == entry.factors_size + entry.vectors_size


def test_other_vectors_of_the_same_factors_are_read_anew(served: Served, small: Pack) -> None:
    """Another release of an expert whose gates alone were trained again."""
    place, shelf = served.bare.places["ada/lora"], Shelf(Residence(PLENTY), Warm(PLENTY))
    resident = served.resident(shelf=shelf, bare=small)
    changed = tuple(
        replace(entry, vectors=served.entry("flo/lora").vectors) if entry.adapter == "ada/lora" else entry
        for entry in resident.entries
    )

    before = resident.key(place)
    resident.entries = changed

    assert resident.key(place) != before


def follows(served: Served, before: Pack, names: Sequence[str], parts: int = PARTS) -> Pack:
    published = served.published
    pack = load_bare(
        published.store,
        published.manifest(names),
        published.spec,
        device=CPU,
        previous=before,
        parts=parts,
    )
    assert before.text is not None
    return calibrated_pack(served.model, pack, before.text, neutral=NEUTRAL)


def assert_same(found: Pack, expected: Pack) -> None:
    assert found.experts == expected.experts
    assert found.parts == expected.parts
    _assert_same_modules(found.judging, expected.judging)
    assert {name: one.members for name, one in found.modules.items()} == {
        name: one.members for name, one in expected.modules.items()
    }
    assert found.usual is not None
    assert expected.usual is not None
    torch.testing.assert_close(found.usual.mean, expected.usual.mean)


def _assert_same_modules(found: Pack, expected: Pack) -> None:
    def vectors(module: ModulePack) -> tuple[torch.Tensor, torch.Tensor]:
        return module.vectors.prototypes, module.vectors.gates

    assert found.modules.keys() == expected.modules.keys()
    for name, module in found.modules.items():
        assert module.members == expected.modules[name].members
        for ours, theirs in zip(vectors(module), vectors(expected.modules[name]), strict=True):
            torch.testing.assert_close(ours, theirs, equal_nan=True)


def test_versions_that_follow_each_other_take_over_their_excerpts(
    served: Served, small: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [name for name in small.experts if name != "bob/dora"]
    read: list[str] = []
    store = type(served.published.store)
    original = store.read_vectors

    def noted(self: IndexStore, entry: ExpertEntry) -> dict[str, RoutingVector]:
        read.append(entry.adapter)
        return original(self, entry)

    fewer = follows(served, small, names)
    monkeypatch.setattr(store, "read_vectors", noted)
    again = follows(served, fewer, small.experts)

    assert read == ["bob/dora"]
    assert_same(again, small)
    assert follows(served, again, small.experts, parts=1).excerpt is None
    assert set(read) == set(small.experts)


def test_guests_join_an_excerpt(served: Served, small: Pack) -> None:
    names = [name for name in small.experts if name not in ("bob/dora", "flo/lora")]
    guests = [served.entry("bob/dora"), served.entry("flo/lora")]
    version = follows(served, small, names)

    joined = join_guests(
        served.published.store, version, guests, served.published.spec, device=CPU, dtype=torch.float32
    )

    assert joined.text is not None
    assert_same(calibrated_pack(served.model, joined, joined.text, neutral=NEUTRAL), small)


def test_what_is_measured_of_an_expert_is_kept_in_few_tensors(served: Served, small: Pack) -> None:
    """A tensor takes some hundred bytes beside its numbers, and there are two for each module and kind of score."""
    resident, alone = served.resident(bare=small), [frozenset({place}) for place in range(3)]
    resident.packs(alone)
    gc.collect()
    before = tensors()

    for pack in resident.packs(alone)[0]:
        resident.measured(pack)

    del pack
    gc.collect()
    assert tensors() - before <= 2 * len(alone) * len(SCORES)


def tensors() -> int:
    """How many there are."""
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())
