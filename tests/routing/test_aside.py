"""Parts of a bounded memory that are set aside for something else leave the rest to who comes, and come back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from routing.residence import NoRoom, Residence, TooLarge
from tests.routing.test_residence import Workshop, hold


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


def test_what_is_set_aside_makes_room_and_is_given_back_with_its_last_user(workshop: Workshop) -> None:
    residence = Residence(4)
    hold(residence, [workshop.thing("a"), workshop.thing("b"), workshop.thing("c"), workshop.thing("d")])

    aside = residence.set_aside("other", 2)

    assert (residence.limit, residence.size) == (2, 2)
    with pytest.raises(TooLarge, match=r"found .*, expected at most") as refused:
        residence.set_aside("other", 1)
    assert (refused.value.needed, refused.value.limit) == (3, 2)
    with pytest.raises(TooLarge):
        hold(residence, [workshop.thing("a"), workshop.thing("b"), workshop.thing("c")])
    residence.correct(aside, 1)
    assert residence.limit == 3
    del aside
    assert residence.limit == 4
    hold(residence, [workshop.thing("a"), workshop.thing("b"), workshop.thing("c"), workshop.thing("d")])


def test_what_is_held_stays_where_room_is_set_aside(workshop: Workshop) -> None:
    residence = Residence(4, patience=0.05)
    _, stay = hold(residence, [workshop.thing("a"), workshop.thing("b"), workshop.thing("c")])

    aside = residence.set_aside("other", 2)

    assert residence.size == 3
    with pytest.raises(NoRoom):
        hold(residence, [workshop.thing("d")])
    del stay
    hold(residence, [workshop.thing("d")])
    assert residence.size <= residence.limit
    del aside


def test_of_other_owners_the_largest_part_counts(workshop: Workshop) -> None:
    residence = Residence(40)
    asides = [residence.set_aside(*part) for part in (("one", 3), ("one", 5), ("two", 4), ("three", 2))]

    assert residence.aside_of_others("one") == 6
    assert residence.aside_of_others("nobody") == 11
    del asides[1]
    assert residence.aside_of_others("nobody") == 9


def test_who_waits_comes_in_when_what_was_set_aside_is_given_back(workshop: Workshop) -> None:
    residence = Residence(4, patience=60.0)
    _, stay = hold(residence, [workshop.thing("a"), workshop.thing("b")])
    asides = [residence.set_aside("other", 2)]

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hold, residence, [workshop.thing("c")])
        while not residence.waiting:
            pass
        asides.clear()
        values, _ = waiting.result(timeout=30.0)

    assert values == ["c"]
    del stay


def test_who_waits_comes_in_when_less_is_set_aside_than_was_foreseen(workshop: Workshop) -> None:
    residence = Residence(4, patience=60.0)
    _, stay = hold(residence, [workshop.thing("a"), workshop.thing("b")])
    aside = residence.set_aside("other", 2)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(hold, residence, [workshop.thing("c")])
        while not residence.waiting:
            pass
        residence.correct(aside, 1)
        values, _ = waiting.result(timeout=30.0)

    assert values == ["c"]
    del stay


def test_more_than_was_foreseen_makes_room_too(workshop: Workshop) -> None:
    residence = Residence(4)
    aside = residence.set_aside("other", 1)
    hold(residence, [workshop.thing("a"), workshop.thing("b"), workshop.thing("c")])

    residence.correct(aside, 2)

    assert residence.size == residence.limit == 2


def test_who_asks_for_what_is_there_does_not_wait_for_room_that_was_set_aside(workshop: Workshop) -> None:
    residence = Residence(6, patience=0.05)
    _, stay = hold(residence, [workshop.thing("a"), workshop.thing("b"), workshop.thing("c")])
    _, other = hold(residence, [workshop.thing("d")])
    hold(residence, [workshop.thing("idle")])

    aside = residence.set_aside("next", 3)

    assert (residence.limit, residence.spare) == (3, 0)
    assert residence.size == 4  # what nobody holds goes, though it is too little
    values, again = hold(residence, [workshop.thing("d")])
    assert values == ["d"]
    assert workshop.made["d"] == 1
    del stay, other, again, aside


def test_nobody_waits_behind_who_does_not_fit_for_what_was_set_aside_since(workshop: Workshop) -> None:
    residence = Residence(4, patience=60.0)
    stays = [hold(residence, [workshop.thing("a"), workshop.thing("b")])[1]]
    asides = []

    with ThreadPoolExecutor(2) as pool:
        large = pool.submit(hold, residence, [workshop.thing(name) for name in "cde"])
        while not residence.waiting:
            pass
        asides.append(residence.set_aside("other", 2))
        stays.clear()
        small = pool.submit(hold, residence, [workshop.thing("f")])
        values, _ = small.result(timeout=30.0)
        assert values == ["f"]
        assert not large.done()
        asides.clear()
        assert large.result(timeout=30.0)[0] == ["c", "d", "e"]
