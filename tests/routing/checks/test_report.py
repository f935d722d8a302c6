"""The report at home: the hub's steps in the hub's order, as far as what is at hand allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from routing.base import Base, load_base
from routing.checks.report import report_with_base, report_without_base
from routing.checks.steps import BEHAVIOUR, FILES, NUMBERS
from routing.training import silent
from tests.tiny import tiny_adapter, tiny_llama

ROWS = b'{"prompt": "The ferry", "completion": " leaves at nine"}'


@pytest.fixture(scope="module")
def base() -> Base:
    return load_base(tiny_llama())


def test_with_the_base_every_step_is_taken_and_measured(base: Base, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []

    report = report_with_base(tiny_adapter(tmp_path / "a"), base, ROWS, lambda *now: seen.append(now))

    assert report.done == [FILES, NUMBERS, BEHAVIOUR]
    assert seen == [(0, 3, FILES), (1, 3, NUMBERS), (2, 3, BEHAVIOUR)]
    assert set(report.measurements) >= {"neutral_loss_base", "sample_loss_adapted", "sample_rows"}


def test_the_numbers_of_a_lora_need_no_base(base: Base, tmp_path: Path) -> None:
    loud = tiny_adapter(tmp_path / "loud", scale=30.0)

    with_base, without = (
        report_with_base(loud, base, None, silent),
        report_without_base(loud, base.spec, silent),
    )

    assert {finding.check for finding in without.findings if finding.severity == "error"} == {"norm"}
    assert without.findings == with_base.findings
    assert without.done == with_base.done == [FILES, NUMBERS]


def test_a_kind_that_works_through_the_bases_weight_leaves_its_numbers_to_the_hub(
    base: Base, tmp_path: Path
) -> None:
    dora = tiny_adapter(tmp_path / "dora", dora=True, scale=0.02)

    report = report_without_base(dora, base.spec, silent)

    assert report.done == [FILES]
    assert not [finding for finding in report.findings if finding.severity == "error"]
    assert report_with_base(dora, base, None, silent).done == [FILES, NUMBERS, BEHAVIOUR]


def test_an_error_ends_it_before_what_relies_on_it(base: Base, tmp_path: Path) -> None:
    folder = tiny_adapter(tmp_path / "a")
    (folder / "adapter_config.json").write_text("{")

    assert report_with_base(folder, base, ROWS, silent).done == [FILES]
