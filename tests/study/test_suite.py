"""Suites are data: what is wrong with one is said before anything is trained."""

from pathlib import Path

import pytest

from study.suite import BadSuite, Recipe, read_rows, read_suite
from tests.study.worlds import SUITE, tiny_suite


def test_paths_are_relative_to_the_suite_and_recipes_inherit(tmp_path: Path) -> None:
    suite = read_suite(tiny_suite(tmp_path))

    assert suite.names == ("ada/boats", "bob/gulls")
    assert suite.experts[0].adapter == str(tmp_path / "ada")
    assert suite.tasks[1].rows == tmp_path / "ada.jsonl"
    assert suite.training == suite.pooled == Recipe(rank=2, steps=2)
    assert suite.seeds == (1,)


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = SUITE.replace('split = "held-out"', 'split = "unseen"').replace('expert = "ada/boats"', "")
    path = tmp_path / "suite.toml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(BadSuite) as refusal:
        read_suite(path)

    said = str(refusal.value)
    assert "split is 'unseen'" in said
    assert "task boats: expert is None" in said
    assert "boats.jsonl is no file" in said


@pytest.mark.parametrize(
    "text", ["name = 3 =", 'name = "a"', 'name = "a"\nsurprise = 1\nexperts = []\ntasks = []\nbase = "b"']
)
def test_what_is_no_suite_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    path = tmp_path / "suite.toml"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(BadSuite, match=r"suite\.toml"):
        read_suite(path)


def test_a_row_without_a_completion_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n\n{"prompt": "a"}\n', encoding="utf-8")

    with pytest.raises(BadSuite, match="line 3"):
        read_rows(path)
