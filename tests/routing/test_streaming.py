"""Text that streams is the text of the whole: characters never break, stop strings never leak."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from routing import generation
from routing.base import Base, load_base
from routing.generation import Generation, Request
from routing.routed import RoutedModel
from routing.streaming import Detokenizer, StopWatch, TextToken
from tests.tiny import tiny_llama

TOKENIZER = AutoTokenizer.from_pretrained(tiny_llama())


@given(
    text=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), max_size=40)
)
def test_pieces_joined_are_the_text_and_none_ends_in_half_a_character(text: str) -> None:
    detokenizer = Detokenizer(TOKENIZER)

    pieces = [detokenizer.push(token) for token in TOKENIZER(text)["input_ids"]]

    assert "".join(pieces) + detokenizer.rest() == text
    assert "\ufffd" not in "".join(pieces)


def test_a_character_that_never_becomes_whole_is_shown_as_broken_at_the_end() -> None:
    detokenizer = Detokenizer(TOKENIZER)
    tokens = TOKENIZER("ab\U0001f426")["input_ids"]

    pieces = [detokenizer.push(token) for token in tokens[:-1]]

    assert "".join(pieces) == "ab"
    assert set(detokenizer.rest()) == {"\ufffd"}


def spoken(pieces: list[str], stop: list[str]) -> tuple[str, bool]:
    watch = StopWatch(stop)
    text = ""
    for place, piece in enumerate(pieces):
        text += "".join(token.text for token in watch.push(TextToken(place, piece)))
        if watch.stopped:
            return text, True
    return text + "".join(token.text for token in watch.rest()), False


@pytest.mark.parametrize(
    ("pieces", "stop", "expected"),
    [
        (["one", " two", " three"], ["two"], ("one ", True)),
        (["one t", "w", "o three"], ["two"], ("one ", True)),
        (["one t", "w", "elve"], ["two"], ("one twelve", False)),
        (["a", "b", "a", "b", "c"], ["abc"], ("ab", True)),
        (["x\n", "\n", "y"], ["\n\n", "y"], ("x", True)),
        (["stop"], ["top", "st"], ("", True)),
        (["no", "thing"], [], ("nothing", False)),
    ],
)
def test_text_ends_where_the_first_stop_string_begins(
    pieces: list[str], stop: list[str], expected: tuple[str, bool]
) -> None:
    assert spoken(pieces, stop) == expected


@given(
    pieces=st.lists(st.text("abc", max_size=3), max_size=12),
    stop=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
def test_however_the_text_is_cut_into_tokens_it_stops_in_the_same_place(
    pieces: list[str], stop: list[str]
) -> None:
    text = "".join(pieces)
    # in a stream the stop string that is complete first ends the text
    ends = [(text.index(s) + len(s), text.index(s)) for s in stop if s in text]

    streamed, stopped = spoken(list(text), stop)

    assert stopped == bool(ends)
    assert streamed == (text[: min(begin for end, begin in ends if end == min(ends)[0])] if ends else text)
    assert not any(s in streamed for s in stop)


def test_text_is_not_held_back_without_need() -> None:
    watch = StopWatch(["END"])

    assert [token.text for token in watch.push(TextToken(0, "hello "))] == ["hello "]
    assert watch.push(TextToken(1, "E")) == []
    assert [token.text for token in watch.push(TextToken(2, "gg"))] == ["E", "gg"]


def lines_run(act: Callable[[], object]) -> int:
    """How many lines of Python an act takes: a measure of its time that no machine changes."""
    before, count = sys.gettrace(), 0

    def counted(_frame: Any, event: str, _argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return counted

    sys.settrace(counted)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def test_a_token_costs_the_same_however_much_is_held_back() -> None:
    watch = StopWatch(["-" * 8_000, "-" * 100 + "y", "-" * 5_000 + "x"])
    token = TextToken(0, "-" * 16)

    costs = [lines_run(lambda: watch.push(token)) for _ in range(400)]

    assert max(costs[300:]) <= 1.5 * max(costs[:10])


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(tiny_llama())


def written(base: Base, monkeypatch: pytest.MonkeyPatch, text: list[int], **asked: Any) -> tuple[str, str]:
    """What comes of an answer whose tokens are these, and how it ended."""
    tokens: Iterator[int] = iter(text)
    monkeypatch.setattr(generation, "draw", lambda *_: next(tokens))
    answer = Generation(RoutedModel(base), Request((5, 6), len(text), **asked))
    said = ""
    while answer.finish is None:
        said += "".join(token.text for token in answer.advance())
    return said, answer.finish


@pytest.mark.parametrize(("stop", "expected"), [("b\ufffd", ("a", "stop")), ("c", ("ab\ufffd", "length"))])
def test_no_stop_string_leaks_where_an_answer_ends_in_half_a_character(
    base: Base, monkeypatch: pytest.MonkeyPatch, stop: str, expected: tuple[str, str]
) -> None:
    half = TOKENIZER("\u20ac", add_special_tokens=False)["input_ids"][:1]

    text = TOKENIZER("ab", add_special_tokens=False)["input_ids"] + half

    assert written(base, monkeypatch, text, stop=(stop,)) == expected
