"""The parts of a hub on one machine, as the supervisor starts them."""

from pathlib import Path

import pytest
from pytest_django import Settings

from hub.operations.parts import Layout, serving_part
from hub.uses.signatures import report_key
from workers.serving.ending import FLUSH

LAYOUT = Layout("127.0.0.1", 8000, 8081, "data/store", Path("data/run"), 2)


def test_the_serving_process_lets_its_threads_sleep_unless_the_operator_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    beside = serving_part(LAYOUT, 8081).environment
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")

    assert beside["OMP_WAIT_POLICY"] == "PASSIVE"
    assert serving_part(LAYOUT, 8081).environment["OMP_WAIT_POLICY"] == "ACTIVE"


def test_whom_it_answers_is_said_where_the_operator_has_decided(settings: Settings) -> None:
    settings.SERVING_CALLERS = None
    undecided = serving_part(LAYOUT, 8081).command
    settings.SERVING_CALLERS = "passes"

    assert "--callers" not in undecided
    assert "--callers passes" in " ".join(serving_part(LAYOUT, 8081).command)


def test_the_serving_process_can_report_to_its_hub_and_has_no_other_secret(settings: Settings) -> None:
    part = serving_part(LAYOUT, 8081)

    assert "--report-to http://127.0.0.1:8000" in " ".join(part.command)
    assert part.environment["FLETCH_REPORT_KEY"] == report_key()
    assert settings.SECRET_KEY not in part.environment.values()
    assert "FLETCH_SECRET_KEY" in part.withheld


def test_a_serving_process_is_given_longer_to_end_than_its_answers_may_go_on() -> None:
    part = serving_part(LAYOUT, 8081)

    assert part.grace > float(part.command[part.command.index("--grace") + 1]) + FLUSH
