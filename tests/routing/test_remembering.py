"""What takes long to work out is worked out once, and what is known is there at once."""

from __future__ import annotations

import threading

import pytest

from routing.remembering import Remembered


class Workshop:
    """Makes capital letters, and writes down which."""

    def __init__(self, most: int) -> None:
        self.remembered = Remembered(most)
        self.made: list[str] = []

    def get(self, letter: str) -> str:
        return self.remembered.get(letter, lambda: self._make(letter))

    def _make(self, letter: str) -> str:
        self.made.append(letter)
        return letter.upper()


def test_what_is_known_is_not_made_again() -> None:
    workshop = Workshop(2)

    assert [workshop.get(letter) for letter in "aba"] == ["A", "B", "A"]
    assert workshop.made == ["a", "b"]


def test_of_what_was_asked_for_once_the_oldest_is_forgotten_first() -> None:
    workshop = Workshop(3)

    for letter in "wwabcdwdb":
        workshop.get(letter)

    assert workshop.made == ["w", "a", "b", "c", "d", "b"]
    assert len(workshop.remembered) == 3


def test_what_fails_is_not_remembered() -> None:
    remembered = Remembered(2)

    def fail() -> str:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        remembered.get("a", fail)
    assert remembered.get("a", lambda: "there") == "there"


def test_what_is_known_is_found_while_something_else_is_made() -> None:
    remembered, making, go = Remembered(4), threading.Event(), threading.Event()
    remembered.get("known", lambda: "there")

    def slowly() -> str:
        making.set()
        assert go.wait(10)
        return remembered.get("part of it", lambda: "done")

    found: list[str] = []
    asking = [threading.Thread(target=lambda: found.append(remembered.get("new", slowly))) for _ in range(3)]
    for one in asking:
        one.start()
    assert making.wait(10)
    assert remembered.get("known", lambda: "made again") == "there"
    go.set()
    for one in asking:
        one.join(10)

    assert found == ["done"] * 3
