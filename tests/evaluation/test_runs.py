"""A whole suite through the command: the demonstration's tasks by the base, by routers, by each expert."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from lm_eval import evaluate
from lm_eval.tasks import TaskManager

from evaluation import runs
from evaluation.__main__ import main
from evaluation.report import rows
from evaluation.runs import FEWSHOT_SEED, Variant
from routing.composed import compose
from routing.index import RoutingPolicy
from routing.routes import routing_of
from tests.evaluation.test_shown import texts_task
from tests.routing.libraries import llama_library

EXPERT, ITS_TASK = "jonas/capitals", "demo_capitals"
LIBRARY = "pretrained=demo/quill-2m,shortlist=1,top_k=1"


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluation", *arguments])
    main()


def test_the_demonstration_s_suite_says_who_can_do_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, adapters = tmp_path / "demo.json", tmp_path / "adapters"
    adapters.mkdir()
    for name in (EXPERT, "mara/plural"):
        folder = name.replace("/", "--")
        (adapters / folder).symlink_to(Path("demo/adapters", folder).resolve())
    asked = ("demo", f"{LIBRARY},adapters={adapters}", "--routers", "uniform", "--limit", "2")

    command(monkeypatch, *asked, "--out", str(out), "--cache", str(tmp_path / "cache"))

    written = json.loads(out.read_text())
    by_name = {row["variant"]: row for row in written["rows"]}
    assert list(by_name) == ["base", "library's policy", "uniform", EXPERT, "mara/plural"]
    kinds = [row["kind"] for row in written["rows"]]
    assert kinds == ["base", "policy", "router", "expert", "expert"]
    assert written["members"][ITS_TASK] == {"metric": "acc", "questions": 2, "held_out": False}
    assert by_name["base"]["above_base"] == 0.0
    assert by_name[EXPERT]["members"][ITS_TASK] > by_name["mara/plural"]["members"][ITS_TASK] + 0.5
    assert by_name["library's policy"]["members"][ITS_TASK] > by_name["base"]["members"][ITS_TASK] + 0.5
    assert by_name["library's policy"]["low"] > 0.0
    assert sum(len(questions) for questions in written["outcomes"]["base"].values()) == 2 * 13
    assert written["held_out"] == []
    assert written["about"]["fewshot_seed"] == FEWSHOT_SEED
    assert len(written["held_in"]) == 13
    assert "| library's policy |" in capsys.readouterr().out
    assert len(list((tmp_path / "cache").glob("*.db"))) == 5


def test_every_way_and_every_run_gets_the_same_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = llama_library(tmp_path)
    model = compose(library.base(), library.experts(), RoutingPolicy(top_k=1))
    rows = [{"text": f"Number {number} is", "target": str(number)} for number in range(30)]
    drawn = {
        **texts_task("counting", "loglikelihood", num_fewshot=2, fewshot_split="train"),
        "custom_dataset": lambda **_: {"train": Dataset.from_list(rows), "test": Dataset.from_list(rows[:3])},
    }
    seen: list[list[str]] = []

    def logged(**said: Any) -> Any:
        results = evaluate(**said)
        seen.append([one["arguments"][0][0] for one in results["samples"]["counting"]])
        return results

    monkeypatch.setattr(runs, "evaluate", logged)
    ways = [Variant("base", "base", None), Variant("policy", "policy", routing_of(model.policy))]

    for _ in range(2):
        list(runs.run(model, ways, TaskManager(include_defaults=False).load([drawn]), batch_size=3))

    assert len(seen) == 4
    assert len(set(seen[0])) == 3
    assert all(prompts == seen[0] for prompts in seen)
    assert all(prompt.count("Number") == 3 for prompt in seen[0])


def test_means_are_over_questions_then_tasks_then_members() -> None:
    base = {"a1": {"0": 0.0, "1": 0.0}, "a2": {"0": 1.0}, "b": {"0": 0.0}}
    ours = {"a1": {"0": 1.0, "1": 0.0}, "a2": {"0": 1.0}, "b": {"0": 1.0}}

    _, row = rows({"base": base, "ours": ours}, {"a": ["a1", "a2"], "b": ["b"]})

    assert row.members == {"a": 0.75, "b": 1.0}
    assert row.mean == 0.875
    assert row.above_base == pytest.approx((0.25 + 1.0) / 2)


def test_the_interval_is_of_the_differences_and_not_of_how_hard_questions_are() -> None:
    base = {"a": {str(place): float(place % 2) for place in range(40)}}
    ours = {"a": {question: value + 0.25 for question, value in base["a"].items()}}

    _, row = rows({"base": base, "ours": ours}, {"a": ["a"]})

    assert [row.low, row.high] == pytest.approx([0.25, 0.25])
