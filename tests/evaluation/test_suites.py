"""The shipped suites: every name resolves in lm_eval's own index, and our own prompts are what was meant."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pytest

from demo.tasks import TASKS
from demo.write_questions import SUITE, lines
from evaluation.catalogue import UnknownSuite, find_suite, leaves, load_tasks, shipped, task_manager

P3_ROW = {
    "inputs_pretokenized": "The mill is closed. Can we infer that the mill is shut? Yes or no?",
    "targets_pretokenized": "\nYes",
    "answer_choices": ["Yes", "No"],
}
FLAN_ROWS = [
    {"source": "Say hello to the ferry.", "target": "Hello, ferry!", "task_name": "greet", "split": split}
    for split in ("train", "test")
]


def offline(data: Mapping[str, datasets.DatasetDict], monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets by path, where lm_eval would fetch them."""
    monkeypatch.setattr(datasets, "load_dataset", lambda path, **_: data[path])


def requests_of(task: Any) -> list[tuple[str, str]]:
    task.build_all_requests(limit=None, rank=0, world_size=1)
    return [instance.args for instance in task.instances]


def test_every_shipped_suite_is_known_by_its_name() -> None:
    assert set(shipped()) >= {"bbh", "demo", "flan", "phi2_ten", "t0_held_out"}


@pytest.mark.parametrize("name", ["bbh", "flan", "phi2_ten", "t0_held_out"])
def test_every_name_is_one_of_the_harness_s_or_defined_beside_it(name: str) -> None:
    suite = find_suite(name)
    index = task_manager(suite).task_index
    ours = [member for member in suite.members if member.startswith("t0_")]  # defined inside the group

    assert [member for member in suite.members if member not in index] == ours
    assert set(suite.held_in) | set(suite.held_out) == set(suite.members)
    assert not set(suite.held_in) & set(suite.held_out)


def test_the_ten_tasks_of_phi_2_are_ten() -> None:
    assert len(find_suite("phi2_ten").members) == 10


def test_t0_s_prompts_are_those_of_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    story: dict[str, object] = {f"input_sentence_{place}": f"Sentence {place}." for place in range(1, 5)}
    story |= {"sentence_quiz1": "One.", "sentence_quiz2": "Two.", "answer_right_ending": 2}
    offline(
        {
            "bigscience/P3": datasets.DatasetDict(validation=datasets.Dataset.from_list([P3_ROW])),
            "LSDSem/story_cloze": datasets.DatasetDict(
                validation=datasets.Dataset.from_list([story]), test=datasets.Dataset.from_list([story])
            ),
        },
        monkeypatch,
    )
    suite = find_suite("t0_held_out")

    tasks = load_tasks(suite)

    below = leaves(tasks, suite)
    assert list(below) == list(suite.members)
    assert len(below["t0_anli_r1"]) == len(below["t0_cb"]) == 15
    for name in (below["t0_rte"][0], below["t0_winogrande"][-1]):
        task = tasks["tasks"][name]
        assert task.config.dataset_path == "bigscience/P3"
        assert name.endswith(f"p3_{task.config.dataset_name}")
        assert requests_of(task) == [
            (P3_ROW["inputs_pretokenized"], " Yes"),
            (P3_ROW["inputs_pretokenized"], " No"),
        ]
        assert task.doc_to_target(P3_ROW) == 0


def test_flan_is_asked_its_test_rows_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.disable_caching()
    offline(
        {"sordonia/flan-10k-flat": datasets.DatasetDict(train=datasets.Dataset.from_list(FLAN_ROWS))},
        monkeypatch,
    )

    task = task_manager(find_suite("flan")).load(["flan_test_rows"])["tasks"]["flan_test_rows"]

    assert [prompt for prompt, _ in requests_of(task)] == ["Say hello to the ferry."]
    assert task.process_results(FLAN_ROWS[1], ["hello ferry"])["rougeL"] == 1.0
    assert task.process_results(FLAN_ROWS[1], ["goodbye"])["rougeL"] == 0.0


def test_the_demonstration_s_questions_are_asked_as_they_are() -> None:
    suite = find_suite("demo")
    tasks = load_tasks(suite)

    assert len(suite.members) == len(TASKS)
    for task, member in zip(TASKS, suite.members, strict=True):
        (leaf,) = leaves(tasks, suite)[member]
        asked = requests_of(tasks["tasks"][leaf])
        assert asked == [(row.prompt, row.completion) for row in task.test_rows]


def test_the_questions_on_file_are_those_of_the_demonstration() -> None:
    for task in TASKS:
        assert (SUITE / f"{task.name}.jsonl").read_text(encoding="utf-8") == lines(task)


def test_somebody_s_own_suite_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text(json.dumps({"prompt": "2 + 2 =", "completion": " 4"}) + "\n")
    (tmp_path / "mine.yaml").write_text(
        "group: mine\n"
        "metadata: {held_in: [sums], looks_in: []}\n"
        "custom_dataset: !function evaluation.suites.demo.rows.read\n"
        f"dataset_kwargs: {{questions: {tmp_path / 'mine.jsonl'}}}\n"
        "test_split: test\noutput_type: loglikelihood\ntarget_delimiter: ''\n"
        "doc_to_text: '{{prompt}}'\ndoc_to_target: '{{completion}}'\n"
        "metric_list: [{metric: acc}]\n"
        "task: [{task: sums}]\n"
    )

    suite = find_suite(str(tmp_path / "mine.yaml"))
    tasks = load_tasks(suite)

    assert suite.held_in == ("sums",)
    assert requests_of(tasks["tasks"][leaves(tasks, suite)["sums"][0]]) == [("2 + 2 =", " 4")]


def test_a_suite_that_is_nowhere_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(UnknownSuite, match=r"bhb.*bbh.*demo"):
        find_suite("bhb")
    (tmp_path / "task.yaml").write_text("task: alone\n")
    with pytest.raises(UnknownSuite, match="expected a group"):
        find_suite(str(tmp_path / "task.yaml"))
