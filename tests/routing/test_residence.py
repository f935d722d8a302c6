"""A bounded memory: what is asked for comes once and stays while it is held, and what is idle makes room."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from routing.residence import NoRoom, Residence, Stay, TooLarge, Wanted
from routing.turns import Asker, Left

OWNER = "tales"


class Witness:
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: Counter[str] = Counter()

    def asked(self, _owner: str, there: int, missing: int) -> None:
        self.told.update(hits=there, misses=missing)

    def made(self, _owner: str, seconds: float) -> None:
        assert seconds >= 0
        self.told["made"] += 1

    def put_out(self, _owner: str) -> None:
        self.told["put out"] += 1


class Workshop:
    """Makes things of size one by their names, and remembers how often."""

    def __init__(self) -> None:
        self.made: Counter[str] = Counter()

    def thing(self, name: str, make: Callable[[], object] | None = None) -> Wanted:
        def work() -> object:
            self.made[name] += 1
            return name if make is None else make()

        return Wanted(name, 1, work)

    def together(self, *names: str) -> Wanted:
        def join(*parts: str) -> str:
            self.made["+".join(names)] += 1
            return "+".join(parts)

        return Wanted(names, len(names), join, tuple(self.thing(name) for name in names))


@pytest.fixture
def workshop() -> Workshop:
    return Workshop()


def hold(residence: Residence, wanted: Sequence[Wanted]) -> tuple[list[Any], Stay]:
    return residence.hold(OWNER, wanted)


def test_what_is_there_is_not_made_again(workshop: Workshop) -> None:
    witness = Witness()
    residence = Residence(3, witness=witness)

    first, _ = hold(residence, [workshop.thing("a"), workshop.thing("b")])
    again, _ = hold(residence, [workshop.thing("b"), workshop.thing("c")])

    assert (first, again) == (["a", "b"], ["b", "c"])
    assert workshop.made == {"a": 1, "b": 1, "c": 1}
    assert witness.told == {"hits": 1, "misses": 3, "made": 3}
    assert residence.held(OWNER) == (3, 3)


def test_the_least_recently_used_makes_room_and_nothing_does_that_is_held(workshop: Workshop) -> None:
    witness = Witness()
    residence = Residence(3, witness=witness)
    _, stay = hold(residence, [workshop.thing("held")])
    hold(residence, [workshop.thing("a")])
    hold(residence, [workshop.thing("b")])
    hold(residence, [workshop.thing("a")])

    hold(residence, [workshop.thing("c")])  # b goes
    hold(residence, [workshop.thing("a")])
    hold(residence, [workshop.thing("held")])
    hold(residence, [workshop.thing("b")])  # c goes

    assert workshop.made == {"held": 1, "a": 1, "b": 2, "c": 1}
    assert witness.told["put out"] == 2
    assert residence.size == 3
    del stay


def test_what_is_made_of_parts_needs_them_only_while_it_is_made(workshop: Workshop) -> None:
    residence = Residence(4)
    (value,), _stay = hold(residence, [workshop.together("a", "b")])
    assert value == "a+b"

    hold(residence, [workshop.thing("c"), workshop.thing("d")])  # the parts make room, the pair is held
    (again,), _ = hold(residence, [workshop.together("a", "b")])

    assert again == "a+b"
    assert workshop.made == {"a": 1, "b": 1, "a+b": 1, "c": 1, "d": 1}


def test_what_makes_room_is_shown_out_before_anything_is_made(workshop: Workshop) -> None:
    residence, seen = Residence(2), list[str]()

    def fail(_value: object) -> None:
        raise OSError("nowhere to keep it")

    hold(residence, [replace(workshop.thing("a"), left=seen.append), replace(workshop.thing("b"), left=fail)])
    hold(residence, [workshop.thing("c", lambda: seen.append("c made")), workshop.thing("d")])

    assert seen == ["a", "c made"]
    assert residence.held(OWNER) == (2, 2)


def test_what_never_fits_is_refused_at_once(workshop: Workshop) -> None:
    residence = Residence(3)

    with pytest.raises(TooLarge, match="expected at most"):
        hold(residence, [workshop.together("a", "b")])
    assert not workshop.made


def test_who_finds_no_room_waits_until_a_stay_ends(workshop: Workshop) -> None:
    residence = Residence(1)
    _, stay = hold(residence, [workshop.thing("a")])
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(hold(residence, [workshop.thing("b")])[0]))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()

    del stay
    waiting.join(10)

    assert found == ["b"]


class Guest:
    """Somebody who asks on a thread of its own, and lets go when told to."""

    def __init__(self, residence: Residence, *wanted: Wanted) -> None:
        self.got: list[Any] = []
        self._in, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._ask, args=(residence, wanted))
        before = residence.waiting
        self._thread.start()
        while not self._in.wait(0.001) and residence.waiting == before:
            assert self._thread.is_alive()

    def enters(self) -> list[Any]:
        assert self._in.wait(10)
        return self.got

    def leaves(self) -> list[Any]:
        self._go.set()
        self._thread.join(10)
        return self.got

    def _ask(self, residence: Residence, wanted: Sequence[Wanted]) -> None:
        values, stay = hold(residence, wanted)
        self.got += values
        self._in.set()
        assert self._go.wait(10)
        del stay

    def end(self) -> list[Any]:
        self._go.set()
        self._thread.join(10)
        return self.got


def test_who_needs_much_is_not_passed_by_those_for_whom_it_would_wait_longer(workshop: Workshop) -> None:
    residence = Residence(4, patience=10)
    stays = [hold(residence, [workshop.thing(name)])[1] for name in "abcd"]
    large = Guest(residence, *map(workshop.thing, "efg"))
    first, second, third = (Guest(residence, workshop.thing(name)) for name in "hij")

    del stays[2:]
    assert first.enters() == ["h"]  # beside which the large one will have room
    assert (large.got, second.got, third.got) == ([], [], [])
    stays.clear()
    assert large.enters() == ["e", "f", "g"]
    assert (second.got, third.got) == ([], [])

    for one in (large, first):
        one.leaves()
    assert second.leaves() + third.leaves() == ["i", "j"]


def test_who_waits_is_passed_only_beside_what_it_needs(workshop: Workshop) -> None:
    residence = Residence(4, patience=10)
    _, stay = hold(residence, [workshop.thing("a"), workshop.thing("b")])
    large = Guest(residence, *map(workshop.thing, "cde"))

    there = Guest(residence, workshop.thing("a"))
    beyond = Guest(
        residence, workshop.thing("b")
    )  # in memory too, but beside both there is no room for three

    assert there.enters() == ["a"]
    assert (large.got, beyond.got) == ([], [])
    del stay
    assert large.enters() == ["c", "d", "e"]
    assert (large.leaves(), there.leaves(), beyond.leaves()) == (["c", "d", "e"], ["a"], ["b"])


def test_what_needs_much_comes_in_though_others_come_and_go(workshop: Workshop) -> None:
    residence, done = Residence(4, patience=20), threading.Event()

    def come_and_go(name: str) -> None:
        step = 0
        while not done.is_set():
            step += 1
            hold(residence, [workshop.thing(f"{name}{step}")])

    others = [threading.Thread(target=come_and_go, args=(name,)) for name in "abcdef"]
    for other in others:
        other.start()
    try:
        assert hold(residence, [workshop.together("x", "y")])[0] == ["x+y"]
    finally:
        done.set()
        for other in others:
            other.join(10)


def test_who_gives_up_makes_way_for_who_comes_behind(workshop: Workshop) -> None:
    residence = Residence(2, patience=0.2)
    _, _stay = hold(residence, [workshop.thing("a")])

    with pytest.raises(NoRoom):
        hold(residence, [workshop.thing("b"), workshop.thing("c")])
    assert hold(residence, [workshop.thing("d")])[0] == ["d"]


def test_nobody_waits_for_ever(workshop: Workshop) -> None:
    residence = Residence(1, patience=0.05)
    _, _stay = hold(residence, [workshop.thing("a")])

    with pytest.raises(NoRoom, match="others hold too much"):
        hold(residence, [workshop.thing("b")])
    assert hold(residence, [workshop.thing("a")])[0] == ["a"]


def test_who_leaves_while_waiting_for_room_is_let_go_and_gets_nothing(workshop: Workshop) -> None:
    residence, asker = Residence(1, patience=60.0), Asker("ada")
    _, _stay = hold(residence, [workshop.thing("a")])
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(residence.hold, OWNER, [workshop.thing("b")], asker)
        while not residence.waiting:
            assert not waiting.done()
        asker.leave()
        with pytest.raises(Left):
            waiting.result(30)

    assert residence.waiting == 0
    assert workshop.made["b"] == 0
    with pytest.raises(Left):
        residence.hold(OWNER, [workshop.thing("a")], asker)


def test_what_two_ask_for_at_once_is_made_once(workshop: Workshop) -> None:
    residence, going, go = Residence(8), threading.Event(), threading.Event()

    def slowly() -> object:
        going.set()
        assert go.wait(10)
        return "a"

    found: list[Any] = []

    def ask() -> None:
        found.extend(hold(residence, [workshop.thing("a", slowly)])[0])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert going.wait(10)
    assert hold(residence, [workshop.thing("b")])[0] == ["b"]  # nobody else waits for it
    go.set()
    for thread in threads:
        thread.join(10)

    assert found == ["a"] * 4
    assert workshop.made["a"] == 1


def test_a_failure_is_told_to_who_asked_and_forgotten(workshop: Workshop) -> None:
    residence = Residence(4)

    def fail() -> object:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        hold(residence, [workshop.thing("a", fail), workshop.thing("b")])

    assert residence.held(OWNER) == (1, 1)  # b was promised to whoever asked for it meanwhile
    assert hold(residence, [workshop.thing("a")])[0] == ["a"]
    assert workshop.made["a"] == 2


def test_many_threads_keep_within_the_memory(workshop: Workshop) -> None:
    residence, names = Residence(6), "abcdefgh"
    over: list[int] = []

    def work(start: int) -> None:
        for step in range(60):
            pair = [names[(start + step) % 8], names[(start + 3 * step + 1) % 8]]
            wanted = workshop.together(*pair) if step % 2 and pair[0] != pair[1] else workshop.thing(pair[0])
            (value,), stay = hold(residence, [wanted])
            assert value == (pair[0] if isinstance(wanted.key, str) else "+".join(pair))
            over.append(residence.size)
            del stay

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(over) == 240
    assert max(over) <= 6
