"""Whatever the child does, the caller gets an outcome."""

import os
import time
from pathlib import Path

import pytest

from workers.sandbox import MIB, Limits, Outcome, run_confined


def run(code: str, scratch: Path, **limits: float) -> Outcome:
    return run_confined(["-c", code], scratch=scratch, limits=Limits(**limits))  # type: ignore[arg-type]


def test_the_output_of_a_good_child_comes_back(tmp_path: Path) -> None:
    outcome = run("print('fine')", tmp_path)

    assert (outcome.status, outcome.output, outcome.hit_a_limit) == (0, b"fine\n", False)


def test_a_child_that_wants_too_much_memory_dies_alone(tmp_path: Path) -> None:
    outcome = run("x = bytearray(1 << 30)", tmp_path, memory=256 * MIB)

    assert outcome.status != 0
    assert outcome.hit_a_limit


def test_a_child_that_computes_for_ever_is_stopped_by_its_cpu_limit(tmp_path: Path) -> None:
    outcome = run("while True: pass", tmp_path, cpu_seconds=1, wall_seconds=30)

    assert outcome.hit_a_limit
    assert not outcome.late


def test_a_child_that_waits_for_ever_is_killed_with_its_own_children(tmp_path: Path) -> None:
    code = "import subprocess, sys, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"

    outcome = run(code, tmp_path, wall_seconds=2.0)

    assert outcome.late
    assert outcome.hit_a_limit
    grandchild = int(outcome.output)
    assert not _alive(grandchild)


def test_a_child_cannot_fill_the_disk(tmp_path: Path) -> None:
    outcome = run("import sys; sys.stdout.write('x' * (1 << 22))", tmp_path, file_bytes=1 * MIB)

    assert len(outcome.output) <= MIB
    assert outcome.status != 0


def test_a_child_sees_no_secret_and_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLETCH_SECRET_KEY", "do not tell")

    outcome = run("import os, sys; print(sorted(os.environ), repr(sys.stdin.read()))", tmp_path)

    assert b"FLETCH" not in outcome.output
    assert outcome.output.strip().endswith(b"''")


def test_a_mistake_of_ours_is_not_blamed_on_the_upload(tmp_path: Path) -> None:
    outcome = run("raise KeyError('a bug')", tmp_path)

    assert outcome.status == 1
    assert not outcome.hit_a_limit
    assert "a bug" in outcome.errors


def _alive(pid: int) -> bool:
    for _ in range(50):
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().split()[2] if Path("/proc").is_dir() else "R"
        except (ProcessLookupError, FileNotFoundError):
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True
