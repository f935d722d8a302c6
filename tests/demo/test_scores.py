"""The table at the end: what was asked of a version once is not asked again, and of another version it is."""

from pathlib import Path

from rich.console import Console

from demo.show import scores
from demo.tasks import TASKS


def test_scores_of_the_same_version_and_questions_are_kept(tmp_path: Path) -> None:
    path, quiet = tmp_path / "demo" / "scores.json", Console(quiet=True)
    asked: list[str] = []

    def ask(name: str) -> scores.Scores:
        asked.append(name)
        return {name: {"plural": 1.0}}

    def recall(key: str) -> scores.Scores:
        return scores.remembered(path, key, lambda: ask(key), console=quiet)

    assert recall("one") == recall("one") == {"one": {"plural": 1.0}}
    assert recall("two") == {"two": {"plural": 1.0}}
    assert asked == ["one", "two"]


def test_the_key_names_the_version_and_every_question() -> None:
    keys = {
        scores.key_of("a", TASKS),
        scores.key_of("b", TASKS),
        scores.key_of("a", TASKS[1:]),
        scores.key_of("a", TASKS, rows=1),
    }

    assert len(keys) == 4
    assert scores.key_of("a", TASKS) in keys
