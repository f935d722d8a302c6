"""Routing vectors count in the memory for experts: what does not fit is an excerpt, and half is for who is heard."""

from __future__ import annotations

import gc
import logging
from dataclasses import replace

import pytest
import torch
from prometheus_client import generate_latest

from routing import excerpts
from routing.census import census
from routing.index import ExpertEntry, RoutingPolicy
from routing.neutral import neutral_tokens
from routing.prototypes import RoutingVector
from routing.queries import QueryRouter
from routing.residence import Residence
from routing.resident import Shelf
from routing.routes import Routing
from routing.spec import BaseRef
from routing.store import IndexStore, LibraryRef
from tests.routing.libraries import SmallLibrary
from tests.routing.published import PublishedLibrary
from tests.routing.served import give_gates
from tests.serving.following import Follower
from workers.serving import libraries
from workers.serving.guests import Guests
from workers.serving.options import Limits
from workers.serving.preparing import Preparing
from workers.serving.promises import NotEnoughMemory
from workers.serving.scrape import look_up
from workers.serving.vector_room import room_for_version
from workers.serving.versions import Version, with_guests

FEW = Limits(expert_megabytes=1, expert_patience=0.0)
MANY = 40


@pytest.fixture
def crowd(
    published: PublishedLibrary, small_library: SmallLibrary, monkeypatch: pytest.MonkeyPatch
) -> PublishedLibrary:
    """A library of many small experts beside five, measured on neutral text; a megabyte is what few need."""
    monkeypatch.setattr(excerpts, "FEWEST", 1)
    text = published.store.put_neutral(neutral_tokens(small_library.base(), sequences=4, length=32))
    published.store.set_library(
        published.name, LibraryRef(BaseRef(str(small_library.folder)), published.spec.digest, text)
    )
    plain = published.manifest
    monkeypatch.setattr(published, "manifest", lambda *asked: replace(plain(*asked), calibration=text))
    for number in range(MANY):
        name = f"z{number:02}/small"
        published.entries[name] = replace(published.entries["cy/attention"], adapter=name)
    largest = max(entry.factors_size + entry.vectors_size for entry in published.entries.values())
    monkeypatch.setattr(libraries, "MEGABYTE", 2 * largest)
    return published


def shelf_of(follower: Follower) -> Shelf:
    assert follower.libraries.shelf is not None
    return follower.libraries.shelf


def live_of(follower: Follower) -> Version:
    live = follower.look().live
    assert live is not None
    return live


def assert_alike(one: Version, other: Version, wanted: Routing) -> None:
    prompt = [5, 6, 7]
    ours, theirs = (
        version.model.logits(torch.tensor([prompt]), route=version.queries.route(wanted, prompt))
        for version in (one, other)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_vectors_that_do_not_fit_are_an_excerpt_and_experts_answer_as_if_all_were_there(
    crowd: PublishedLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    crowd.publish(1)
    roomy, tight = Follower(crowd), Follower(crowd, FEW)
    whole = live_of(roomy)
    with caplog.at_level(logging.INFO, "workers.serving.library"):
        ours = live_of(tight)

    near, pack = shelf_of(tight).near, ours.pack
    assert pack.parts > 1
    assert pack.vector_bytes == near.whole - near.limit
    assert pack.vector_bytes < whole.pack.vector_bytes
    assert f"at one in {pack.parts} of each one's modules" in caplog.text
    assert f'fletch_vector_parts{{library="tales"}} {float(pack.parts)}' in scrape(tight)
    assert 'fletch_vector_parts{library="tales"} 1.0' in scrape(roomy)
    for name in ("ada/plain", "bob/wide", "eve/late"):
        alone = Routing("single", 1, experts=(name,))
        assert_alike(ours, whole, alone)
    assert_alike(ours, whole, Routing("arrow", 1, experts=("cy/attention", "eve/late")))
    narrowed = ours.queries.route(Routing("arrow", 2), [5, 6, 7]).narrowed
    assert narrowed is not None
    assert narrowed.prior == "evidence"


def scrape(follower: Follower) -> str:
    metrics, engine = follower.metrics, follower.engine
    preparing = Preparing(engine, FEW, metrics)
    look_up(metrics, engine, preparing, follower.libraries)
    preparing.end()
    return generate_latest(metrics.registry).decode()


def test_the_next_version_takes_over_its_excerpt_and_gives_the_room_back(
    crowd: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd.publish(1)
    follower = Follower(crowd, FEW)
    parts = live_of(follower).pack.parts
    read: list[str] = []
    original = type(crowd.store).read_vectors

    def noted(store: IndexStore, entry: ExpertEntry) -> dict[str, RoutingVector]:
        read.append(entry.adapter)
        return original(store, entry)

    monkeypatch.setattr(type(crowd.store), "read_vectors", noted)
    crowd.entries["zz/new"] = replace(crowd.entries["eve/late"], adapter="zz/new")

    crowd.publish(2)
    live = live_of(follower)
    gc.collect()

    near = shelf_of(follower).near
    assert follower.served == 2
    assert len(read) <= 1  # for the canary, which hears the best; what is new is made of what was there
    assert live.pack.parts == parts
    assert near.whole - near.limit == live.pack.vector_bytes
    crowd.publish(3, ["ada/plain"])
    fewer = live_of(follower)
    gc.collect()
    assert fewer.pack.parts == parts  # to widen it everything would be read again
    del live
    gc.collect()
    assert near.whole - near.limit == fewer.pack.vector_bytes


def test_versions_that_are_named_may_not_take_the_half_of_those_who_are_heard(
    crowd: PublishedLibrary,
) -> None:
    for number in range(1, 7):
        crowd.publish(number, [name for name in crowd.entries if name != f"z{number:02}/small"])
    follower = Follower(crowd, replace(FEW, pinned_versions=6))
    library = follower.look()
    named: list[Version] = []

    with pytest.raises(NotEnoughMemory, match=r"expected at most .* MB, half of --expert-megabytes"):
        named.extend(library.version(number) for number in range(1, 6))
    near = shelf_of(follower).near
    assert near.limit >= near.whole // 2
    crowd.publish(7)
    assert follower.look().trouble is not None  # answers by named versions hold what it needs
    del named
    gc.collect()

    assert follower.look().trouble is None
    assert follower.served == 7


@pytest.mark.parametrize("less", [0, 2])
def test_a_mean_of_all_is_served_if_they_always_fit_and_refused_at_the_first_version_if_not(
    published: PublishedLibrary, less: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, entries = published.manifest, published.entries.values()
    monkeypatch.setattr(
        published,
        "manifest",
        lambda *asked: replace(plain(*asked), policy=RoutingPolicy("uniform", top_k=1)),
    )
    together = sum(2 * entry.factors_size + entry.vectors_size for entry in entries)
    monkeypatch.setattr(libraries, "MEGABYTE", 2 * together - less)
    follower = Follower(published, FEW)
    published.publish(1)
    first = follower.look().trouble
    published.publish(2, list(published.entries)[:-1])

    later = follower.look().trouble

    assert (first is None, later) == (less == 0, None)  # without the last one they fit in either case
    assert follower.served == 2


def test_private_experts_are_judged_by_excerpts_too(crowd: PublishedLibrary) -> None:
    members = [name for name in crowd.entries if name != "bob/wide"]
    crowd.publish(1, members)
    follower = Follower(crowd, FEW)
    live = live_of(follower)
    guests = Guests((crowd.entries["bob/wide"],))

    joined = follower.libraries.joined.version(live, guests)

    near = shelf_of(follower).near
    assert joined.pack.parts == live.pack.parts > 1
    assert near.whole - near.limit == live.pack.vector_bytes + joined.pack.vector_bytes
    alone = Routing("single", 1, experts=("bob/wide",))
    crowd.publish(2)
    whole = live_of(Follower(crowd))
    assert_alike(joined, whole, alone)
    scores = QueryRouter(joined.model, joined.pack).scores("evidence", [5, 6, 7]).experts
    assert bool(scores.isfinite().all())


def test_each_library_has_what_others_leave_of_a_quarter(crowd: PublishedLibrary) -> None:
    entries, store = crowd.manifest().experts, crowd.store
    size = census(store, entries).size(1)
    shelf = Shelf(Residence(8 * size))

    first = room_for_version(shelf, "one", store, entries, None)
    again = room_for_version(shelf, "one", store, entries, None)  # beside it, as the next version is
    second = room_for_version(shelf, "two", store, entries, None)
    with pytest.raises(
        NotEnoughMemory, match=r"at 1 modules of each .* expected at most 0\.00 MB, what other"
    ):
        room_for_version(shelf, "three", store, entries, None)
    del second
    smaller = Shelf(Residence(4 * size - 4))
    narrow = room_for_version(smaller, "one", store, entries, None)

    assert (first.parts, again.parts) == (1, 1)  # its own does not count against it
    assert room_for_version(shelf, "two", store, entries, None).parts == 1
    assert narrow.parts > 1
    assert room_for_version(None, "one", store, entries, None).parts == 1


def test_a_private_expert_with_gates_is_refused_where_those_of_all_would_take_too_much(
    crowd: PublishedLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module has a row of gates for each expert as soon as one has any."""
    crowd.publish(1, [name for name in crowd.entries if name != "bob/wide"])
    size = live_of(Follower(crowd)).pack.vector_bytes
    monkeypatch.setattr(libraries, "MEGABYTE", 5 * size)
    follower = Follower(crowd, FEW)
    live, near = live_of(follower), shelf_of(follower).near
    plain = Guests((crowd.entries["bob/wide"],))
    give_gates(crowd, "bob/wide")

    joined = with_guests(crowd.store, live, plain)
    assert near.whole - near.limit == live.pack.vector_bytes + joined.pack.vector_bytes
    del joined
    with pytest.raises(NotEnoughMemory, match="half of --expert-megabytes"):
        with_guests(crowd.store, live, Guests((crowd.entries["bob/wide"],)))
    assert near.limit >= near.whole // 2
