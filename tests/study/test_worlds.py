"""The shipped suites: what is chosen by, reported, and trained on never meet; and nothing that exists is left out."""

from pathlib import Path

import pytest

from routing.merge import MERGES
from routing.routers import ROUTERS
from study import harbour, quill
from study.choose import candidates, named
from study.methods import MERGED, METHODS, ROUTINGS
from study.suite import Suite, Task, read_rows, read_suite


@pytest.fixture(scope="module", params=["quill", "harbour"])
def suite(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "quill":
            patch.setattr(quill, "FOLDER", folder)
            quill.main()
        else:
            patch.setattr(harbour, "FOLDER", folder)
            patch.setattr(harbour, "train_base", lambda _folder: None)
            harbour.main()
    return read_suite(folder / "suite.toml")


def asked(task: Task) -> set[str]:
    return {row.prompt for row in read_rows(task.rows)}


def test_no_held_in_question_is_trained_on_or_chosen_by(suite: Suite) -> None:
    trained = {row.prompt for source in suite.experts for row in read_rows(source.rows or Path())}
    by_split = {
        split: {prompt for task in suite.tasks if task.split == split for prompt in asked(task)}
        for split in ("held-in", "held-out", "development")
    }

    assert not by_split["held-in"] & trained
    assert not by_split["held-in"] & by_split["development"]
    assert not (by_split["held-out"] | by_split["development"]) & trained


def test_other_wordings_to_choose_by_are_not_those_that_are_reported(suite: Suite) -> None:
    tasks = {task.name: task for task in suite.tasks}

    assert not asked(tasks["other wordings"]) & asked(tasks["other wordings (development)"])
    assert not asked(tasks["second question"]) & asked(tasks["second question (development)"])


def test_every_router_and_every_merge_takes_part() -> None:
    assert {routing.router for routing in ROUTINGS.values()} == set(ROUTERS) - {"single"}
    assert set(MERGED) == set(MERGES) - {"weighted"}  # which needs weights that nobody has
    assert len({method.name for method in METHODS}) == len(METHODS)


def test_candidates_have_different_names() -> None:
    names = [named(policy) for policy in candidates()]

    assert len(set(names)) == len(names)
