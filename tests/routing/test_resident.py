"""A version of which only the heard experts are in memory answers as one that has all of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from routing.errors import BadRouting, ExpertUnavailable, RoutingError
from routing.generation import Generation, Request
from routing.hearing import Hearing, Plan
from routing.pack import Pack, only
from routing.packing import load_bare
from routing.queries import QueryRouter
from routing.residence import Residence, TooLarge
from routing.resident import ResidentPack, Shelf, Warm
from routing.routed import RoutedModel
from routing.routes import Route, Routing
from tests.routing.served import CPU, PLENTY, WAYS, Served, served_kinds


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return served_kinds(tmp_path_factory.mktemp("resident"))


@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_fits_is_answered_as_without_a_limit(served: Served, way: str) -> None:
    wanted = WAYS[way]
    whole = QueryRouter(served.model, served.whole).route(wanted, served.prompt)

    ours = served.router().route(wanted, served.prompt)

    ids = torch.tensor([served.prompt])
    torch.testing.assert_close(
        served.model.logits(ids, route=ours), served.model.logits(ids, route=whole), rtol=1e-4, atol=1e-4
    )
    assert served.say(ours) == served.say(whole)
    assert ours.narrowed is None
    assert ours.entries == whole.entries


def test_a_bare_pack_holds_vectors_alone_and_can_be_run_by_nobody(served: Served) -> None:
    unread = served.router().unread_route(WAYS["arrow"])

    assert served.bare.bare
    assert served.bare.nbytes < served.whole.nbytes / 2
    with pytest.raises(ValueError, match="not in memory"):
        Generation(served.model, Request((1, 2), 1, unread))


@pytest.mark.parametrize("way", ["arrow", "spectral", "prior", "two-stage"])
def test_what_does_not_fit_is_narrowed_to_the_prompts_best(served: Served, way: str) -> None:
    wanted = WAYS[way]
    limit = 2 * served.size(*served.bare.experts) - 1  # half of it there always is
    said = QueryRouter(served.model, served.whole).scores("evidence", served.prompt).experts

    ours = served.router(limit).route(wanted, served.prompt)

    assert ours.narrowed is not None
    assert (ours.narrowed.experts, ours.narrowed.prior) == (6, "evidence")
    best = said.argsort(descending=True)[: ours.narrowed.kept].tolist()
    heard = {member for seat in ours.seats.values() for member in seat.module.members}
    assert heard == set(best)
    names = tuple(served.bare.experts[place] for place in sorted(best))
    same = QueryRouter(served.model, served.whole).route(replace(wanted, experts=names), served.prompt)
    if way != "prior":  # of which the named ones' share is another one
        assert served.say(ours) == served.say(same)


def test_without_neutral_text_prototypes_alone_choose(served: Served) -> None:
    unmeasured = replace(served.bare, neutral=None, text=None, usual=None)
    resident = served.resident(served.size("ada/lora", "bob/dora"), bare=unmeasured)

    way = QueryRouter(served.model, unmeasured, resident=resident).route(WAYS["arrow"], served.prompt)

    assert way.narrowed is not None
    assert way.narrowed.prior == "arrow"


def test_experts_that_a_request_names_and_that_do_not_fit_are_refused(served: Served) -> None:
    names = ("ada/lora", "bob/dora", "di/dora")
    router = served.router(served.size(*names) - 1)

    with pytest.raises(TooLarge, match=r"found .* MB, expected at most .* MB"):
        router.route(Routing("arrow", top_k=1, experts=names), served.prompt)
    assert router.route(Routing("arrow", top_k=1, experts=names[:2]), served.prompt).narrowed is None


@pytest.mark.parametrize(
    ("wanted", "prompt", "field"), [(WAYS["uniform"], (3, 4), "router"), (WAYS["arrow"], (), "prior_tokens")]
)
def test_nothing_is_narrowed_that_would_be_another_thing(
    served: Served, wanted: Routing, prompt: tuple[int, ...], field: str
) -> None:
    with pytest.raises(BadRouting, match="do not fit into memory") as refused:
        served.router(served.size("ada/lora", "bob/dora")).route(wanted, prompt)
    assert refused.value.field == field


def test_prompts_of_one_request_share_the_memory(served: Served) -> None:
    limit = served.size(*served.bare.experts) - 1
    prompts = [served.prompt, served.prompt[::-1], served.prompt[3:]]

    ways = served.router(limit).routes(WAYS["arrow"], prompts)

    assert all(way.narrowed is not None for way in ways)
    assert all(way.stay is ways[0].stay for way in ways)


def test_prompts_whose_best_experts_do_not_fit_together_are_refused(served: Served) -> None:
    router = served.router(max(served.size(name) for name in served.bare.experts))
    prompts = [[token, token + 1] for token in range(3, 43)]
    best = {int(router.scores("evidence", prompt).experts.argmax()) for prompt in prompts}
    assert len(best) > 2

    with pytest.raises(TooLarge):
        router.routes(WAYS["arrow"], prompts)


def test_what_fits_by_what_it_shares_is_not_narrowed(served: Served) -> None:
    first, second = ("ada/lora", "bob/dora"), ("ada/lora", "di/dora")
    limit = served.resident().need(*({served.bare.places[name] for name in one} for one in (first, second)))
    hearing = Hearing(served.model, served.resident(2 * limit), lambda *_: pytest.fail("nobody is asked"))
    plans = [Plan(Routing("arrow", top_k=2, experts=one)) for one in (first, second)]

    ways = hearing.routes(Routing("arrow", top_k=2), plans, [served.prompt, served.prompt[::-1]])

    assert limit < served.size(*first) + served.size(*second)
    assert [way.narrowed for way in ways] == [None, None]


def test_what_lists_need_is_what_the_memory_counts(served: Served) -> None:
    resident = served.resident()
    lists = [frozenset({0, 1}), frozenset({0, 3}), frozenset({1}), frozenset({0, 1})]
    shelf = Shelf(Residence(resident.need(*lists)))

    served.resident(shelf=shelf).packs(lists)

    assert shelf.near.size == shelf.near.limit
    with pytest.raises(TooLarge):
        served.resident(resident.need(*lists) - 1).packs(lists)


def test_an_expert_larger_than_the_memory_is_refused_before_anybody_asks(served: Served) -> None:
    with pytest.raises(RoutingError, match=r"experts: found .* bytes, and the memory for experts holds 9"):
        served.resident(9)


def test_another_version_reads_only_what_differs(served: Served) -> None:
    shelf, wanted = Shelf(Residence(PLENTY)), Routing("arrow", top_k=2)
    resident = served.resident(shelf=shelf)
    QueryRouter(served.model, served.bare, resident=resident).route(wanted, served.prompt)
    members = [name for name in served.bare.experts if name != "bob/dora"]
    served.read.clear()

    published = served.published
    newer = load_bare(
        published.store, published.manifest(members), published.spec, device=CPU, previous=served.bare
    )
    later = served.resident(shelf=shelf, bare=newer)
    asked = QueryRouter(served.model, newer, resident=later).route(wanted, served.prompt)

    assert served.read == []
    assert {member for seat in asked.seats.values() for member in seat.module.members} == set(range(5))


def test_the_hosts_memory_stands_between_the_nearest_and_the_disk(served: Served) -> None:
    names = ("ada/lora", "bob/dora")
    shelf = Shelf(Residence(max(served.size(name) for name in names)), Warm(PLENTY))
    resident = served.resident(shelf=shelf)
    router = QueryRouter(served.model, served.bare, resident=resident)
    ways: dict[str, Callable[[], Route]] = {
        name: lambda name=name: router.route(Routing("single", 1, experts=(name,)), served.prompt)  # type: ignore[misc]
        for name in names
    }
    said = {name: served.say(way()) for name, way in ways.items()}
    objects = served.published.store.objects
    moved = {name: objects.path(served.published.entries[name].factors) for name in names}
    for path in moved.values():
        shutil.move(path, f"{path}.away")
    try:
        assert {name: served.say(way()) for name, way in ways.items()} == said
    finally:
        for path in moved.values():
            shutil.move(f"{path}.away", path)


def test_an_expert_is_read_and_proven_on_each_base_that_it_is_heard_on(served: Served) -> None:
    place, shelf = served.bare.places["ada/lora"], Shelf(Residence(PLENTY), Warm(PLENTY))
    other = RoutedModel(served.published.library.base())
    other.base = replace(other.base, spec=replace(other.base.spec, weights_digest="f" * 64))
    served.read.clear()

    for model in (served.model, other, other):
        served.resident(shelf=shelf, model=model).packs([frozenset({place})])

    assert served.read == ["ada/lora"] * 2
    assert shelf.near.held("tales")[0] == 2
    assert shelf.warm.get((served.model.base.spec.digest, served.entry("ada/lora").factors)) is not None


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_damaged_expert_fails_those_who_want_it_until_it_is_whole_again(
    served: Served, damage: str
) -> None:
    entry = served.published.entries["bob/dora"]
    path = served.published.store.objects.path(entry.factors)
    kept = path.read_bytes()
    resident = served.resident()
    router = QueryRouter(served.model, served.bare, resident=resident)

    def single(name: str) -> Route:
        return router.route(Routing("single", 1, experts=(name,)), served.prompt)

    path.chmod(0o644)
    path.unlink() if damage == "missing" else path.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        with pytest.raises(ExpertUnavailable, match=rf"^bob/dora: .*object {entry.factors}"):
            single("bob/dora")
        assert list(resident.damaged) == ["bob/dora"]
        single("ada/lora")
        with pytest.raises(ExpertUnavailable):
            router.route(Routing("arrow", 1, experts=("ada/lora", "bob/dora")), served.prompt)
    finally:
        path.write_bytes(kept)

    single("bob/dora")
    assert not resident.damaged


def test_every_expert_is_proven_once_before_it_is_heard(served: Served) -> None:
    resident = served.resident(served.size("bob/dora"))
    router = QueryRouter(served.model, served.bare, resident=resident)
    served.read.clear()

    for name in ("bob/dora", "ada/lora", "bob/dora"):
        router.route(Routing("single", 1, experts=(name,)), served.prompt)

    assert served.read == ["bob/dora", "ada/lora"]


def test_an_expert_that_fails_its_proof_is_not_heard(served: Served) -> None:
    def fail(_pack: Pack) -> None:
        raise RoutingError("its logits are not finite")

    resident = ResidentPack(
        Shelf(Residence(PLENTY)),
        "tales",
        served.published.store,
        served.model,
        served.bare,
        served.published.manifest().experts,
        prove=fail,
    )

    with pytest.raises(ExpertUnavailable, match="not finite"):
        resident.packs([frozenset({0})])


def test_only_some_of_a_pack_are_copied_out_of_it(served: Served) -> None:
    (pack,), _stay = served.resident().packs([frozenset({0, 1})])

    assert only(pack, {0, 1, 2}) is pack.modules
    assert {member for module in only(pack, {0}).values() for member in module.members} == {0}


def test_the_worth_of_a_memory_is_the_best_that_fit(served: Served) -> None:
    resident = served.resident()
    places: Sequence[int] = [4, 0, 2, 1]
    room = resident.need([4, 0])

    assert resident.worth(places, room, most=9) == [4, 0]
    assert resident.worth(places, 0, most=9) == [4]
    assert resident.worth(places, PLENTY, most=3) == [4, 0, 2]
    assert resident.worth(places, room, most=9, beside=frozenset({1})) == [4]
