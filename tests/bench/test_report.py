"""Results of benches: runs that tell different things have different names, and what is kept is named for what is in it."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from bench import beside_vllm, report
from bench.report import RESULTS, named

KEPT = [path for path in sorted(RESULTS.glob("*-*.json")) if not path.stem.startswith("soak-")]


def test_a_result_is_named_for_the_options_of_its_run() -> None:
    given = Namespace(
        size="100M", prompt=64, eager=True, router=None, one_each=False, rounds=["add", "leave"]
    )

    name = named("bench", given, "size", "router", "prompt", "one_each", "eager", "rounds")

    assert name == "bench-100M-prompt64-eager-add-leave"


def test_runs_of_one_number_of_experts_keep_the_results_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(beside_vllm, "_row", row_of)

    for experts in ("4", "16 256"):
        asked = f"--python unused --eager --requests 1 --experts {experts}"
        monkeypatch.setattr(sys, "argv", ["bench.beside_vllm", *asked.split()])
        beside_vllm.main()

    assert {path.stem: experts_in(path) for path in tmp_path.iterdir()} == {
        f"beside_vllm-small-eager-parallel1-experts{experts}": [experts] for experts in (4, 16, 256)
    }


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_result_is_named_for_what_is_in_it(path: Path) -> None:
    kept, words = json.loads(path.read_text(encoding="utf-8")), path.stem.split("-")[1:]

    assert {kept[word] for word in ("size", "files", "device", "encoder") if word in kept} <= set(words)
    for number in ("prompt", "rank", "experts", "parallel"):
        said = [int(word.removeprefix(number)) for word in words if word.startswith(number)]
        assert not said or said in ([kept.get(number)], experts_in(path))


def experts_in(path: Path) -> list[int]:
    """How many experts the rows of a result are about."""
    return [row["experts"] for row in json.loads(path.read_text(encoding="utf-8")).get("rows", [])]


def row_of(experts: int, given: Namespace) -> dict[str, Any]:
    """As two servers that say the same would give it."""
    equal = dict.fromkeys(("equal_alone", "equal_together"), given.prompts)
    alike = dict.fromkeys(("difference_alone", "difference_together"), 0.0)
    return {"experts": experts, **equal, "as_the_base": 0, **alike, "ours": {1: 1.0}, "vllm": {1: 1.0}}
