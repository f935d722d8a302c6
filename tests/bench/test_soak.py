"""The soak: it runs, and its verdict would notice what it looks for."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench.soak.tally import Tally
from bench.soak.verdict import Criterion, Rest, criteria
from bench.soak.watching import Sample
from workers.serving import library

REFUSAL = f"2026 ERROR {library.__name__} library soak: {library.REFUSED}: version 7: CorruptObject: object 1"


def sample(minute: float, **more: float) -> Sample:
    calm = Sample(
        minute * 60, rss=500.0, files=40, threads=20, processor=0, running=9, waiting=3, private_versions=1
    )
    return replace(calm, **more)


def followed(grown: Callable[[float], dict[str, float]]) -> list[Sample]:
    """An hour, a look each half minute."""
    return [sample(half / 2, **grown(half / 2)) for half in range(121)]


def failed(
    tmp_path: Path, samples: list[Sample], *, tally: Tally | None = None, log: str = REFUSAL
) -> list[str]:
    """The names of the criteria that do not hold."""
    path = tmp_path / "serving.log"
    path.write_text(log)
    quiet = sample(61, running=0, waiting=0, files=8)
    counted = tally or Tally()
    counted.add("tokens recalled", 5)
    found: list[Criterion] = criteria(samples, counted, Rest(quiet, quiet, 0), path)
    return [one.name for one in found if not one.holds]


def test_a_calm_hour_is_good_even_if_memory_goes_up_and_down(tmp_path: Path) -> None:
    waves = followed(lambda minute: {"rss": 500 + 20 * (minute % 2)})

    assert failed(tmp_path, waves) == []


def test_memory_that_warms_up_and_stays_is_no_leak(tmp_path: Path) -> None:
    assert failed(tmp_path, followed(lambda minute: {"rss": 300 + min(minute, 20) * 10})) == []


def test_a_leak_is_seen(tmp_path: Path) -> None:
    leaks = failed(tmp_path, followed(lambda minute: {"rss": 500 + 2 * minute}))

    assert any("slope" in name for name in leaks)
    assert any(name.startswith("memory, MB") for name in leaks)


@pytest.mark.parametrize("what", ["files", "threads"])
def test_files_and_threads_that_pile_up_are_seen(tmp_path: Path, what: str) -> None:
    piled = failed(tmp_path, followed(lambda minute: {what: 20 + minute}))

    assert [name for name in piled if what in name], piled


def test_a_fault_and_a_line_in_the_log_are_seen(tmp_path: Path) -> None:
    tally = Tally()
    tally.fault("known", "another answer")

    found = failed(
        tmp_path, [sample(0), sample(1)], tally=tally, log="2026 ERROR workers.serving.app x failed\n"
    )

    assert found == ["answers that were not as promised", "errors in its log, but for refused versions"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_minute_of_it_is_good(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "bench.soak",
        "--minutes",
        "1",
        "--clients",
        "24",
        "--out",
        str(tmp_path),
    ]

    run = subprocess.run(command, capture_output=True, text=True, check=False)

    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    assert (tmp_path / "soak.jsonl").read_text().count("\n") == 1
