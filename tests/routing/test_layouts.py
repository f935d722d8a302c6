"""What operators say of layouts is read, and what was taken can be said in the same words."""

from __future__ import annotations

import pytest

from routing.layouts import Layout, Shape, Wanted, parsed, said


def test_one_word_is_for_all_layers() -> None:
    assert parsed(["stored"]) == Wanted("stored")
    assert parsed(["auto"]) == Wanted()


def test_exceptions_are_by_shape() -> None:
    wanted = parsed(["panels", "2048x768=stored", "768x2048=onednn"])

    assert [wanted.of(Shape(*one)) for one in ((2048, 768), (768, 2048), (768, 768))] == [
        *("stored", "onednn", "panels")
    ]


def test_who_names_exceptions_alone_leaves_the_others_to_the_trial() -> None:
    wanted = parsed(["64x32=stored"])

    assert wanted.of(Shape(64, 32)) == "stored"
    assert wanted.of(Shape(32, 64)) is None


@pytest.mark.parametrize(
    "given",
    [["fast"], ["stored", "panels"], ["64x32=fast"], ["64=stored"], ["64x32=stored", "auto"], ["=stored"]],
)
def test_nonsense_is_refused_with_what_was_found(given: list[str]) -> None:
    wrong = given[-1]
    with pytest.raises(
        ValueError, match=f"found '{wrong}', expected one of auto, stored, onednn, panels, halves first"
    ):
        parsed(given)


def test_what_was_taken_can_be_asked_for() -> None:
    taken: dict[Shape, Layout] = {Shape(64, 32): "panels", Shape(32, 64): "stored", Shape(32, 32): "panels"}

    words = said(taken)

    assert words == "panels 32x64=stored"
    assert {shape: parsed(words.split()).of(shape) for shape in taken} == taken
