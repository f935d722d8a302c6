"""`fletch train-gate`: what it says, what it writes, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fletch.app import fletch
from routing.base import load_base
from routing.checks.gates import GATE_FILE, RECORD_FILE, read_record
from tests.routing.test_home_gates import own_words
from tests.tiny import tiny_adapter, tiny_llama

QUICK = ("--steps", "10", "--learning-rate", "0.05", "--device", "cpu")


def train(adapter: Path, rows: Path, *options: str) -> Result:
    words = ["train-gate", str(adapter), "--base", str(tiny_llama()), "--rows", str(rows), *QUICK, *options]
    return CliRunner().invoke(fletch, words)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    return tiny_adapter(tmp_path / "adapter", layers=[1], rank=2)


def test_gates_are_written_beside_the_adapter_and_said(adapter: Path, tmp_path: Path) -> None:
    rows = own_words(load_base(tiny_llama()), adapter, tmp_path / "rows.jsonl")

    ended = train(adapter, rows, "--json")

    document = json.loads(ended.stdout)
    record = read_record(adapter)
    assert ended.exit_code == 0, ended.stderr
    assert document["files"] == [str(adapter / GATE_FILE), str(adapter / RECORD_FILE)]
    assert document["best_step"] == record.best_step
    assert record.recipe["steps"] == 10
    assert "training gates: 10 of 10" in ended.stderr


def test_rows_that_cannot_be_used_end_it_with_their_findings(adapter: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}')

    ended = train(adapter, rows, "--json")

    assert ended.exit_code == 1
    assert json.loads(ended.stdout)["findings"][0]["found"] == "the fields ['text']"
    assert "line 1" in ended.stderr
    assert not (adapter / GATE_FILE).exists()


def test_a_missing_file_is_an_error_of_usage(adapter: Path, tmp_path: Path) -> None:
    assert train(adapter, tmp_path / "nothing.jsonl").exit_code == 2
