"""What the log and who counts hear where several answers could not be read together."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from unittest.mock import patch

import pytest

from routing import parting
from routing.base import load_base
from routing.engine import Engine
from routing.generation import Generation, Request
from routing.routed import RoutedModel
from routing.sampling import Sampling
from routing.spec import BaseRef
from tests.routing.listening import Listener
from tests.tiny import tiny_llama

NOBODY_MORE = type("NobodyMore", (Exception,), {})


@pytest.fixture
def model() -> RoutedModel:
    return RoutedModel(load_base(BaseRef(str(tiny_llama()))))


def answers_read_alone(engine: Engine, model: RoutedModel) -> list[Listener]:
    """Two answers of three tokens whose passes together all fail."""
    run_pieces = model.run_pieces

    def alone(*given: object) -> object:
        pieces = given[2]
        assert isinstance(pieces, list)
        if len(pieces) > 1:
            raise NOBODY_MORE("no room for two")
        return run_pieces(*given)  # type: ignore[arg-type]

    listeners = [Listener(), Listener()]
    requests = [Request(tuple(range(2, 2 + length)), 3, sampling=Sampling(0.0)) for length in (4, 5)]
    with patch.object(model, "run_pieces", alone):
        works = [Generation(model, request) for request in requests]
        engine.submit(list(zip(works, listeners, strict=True)))
        while engine.step():
            pass
    return listeners


def test_it_is_said_once_a_minute_and_counted_every_time(
    model: RoutedModel, caplog: pytest.LogCaptureFixture
) -> None:
    parted: list[tuple[str, str]] = []
    listeners = answers_read_alone(Engine(parted=lambda *what: parted.append(what)), model)

    assert [len(one.tokens) for one in listeners] == [3, 3]
    assert parted == [(model.base.spec.name, "NobodyMore")] * 3
    said = [record for record in caplog.records if record.name == parting.__name__]
    assert [record.levelno for record in said] == [logging.WARNING]
    assert "no room for two" in caplog.text


def test_it_is_said_again_after_a_minute_and_of_another_kind_at_once(
    model: RoutedModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [5.0, 64.0, 64.0, 65.0]
    monkeypatch.setattr(parting, "time", SimpleNamespace(monotonic=lambda: times.pop(0)))
    partings = parting.Partings(lambda *_: None)
    for error in (OSError(), OSError(), ValueError(), OSError()):
        partings(model, 2, error)

    kinds = [type(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert kinds == [OSError, ValueError, OSError]


def test_it_need_not_be_counted_for_the_answers_to_come(model: RoutedModel) -> None:
    def failing(*_: object) -> None:
        raise NOBODY_MORE

    listeners = answers_read_alone(Engine(parted=failing), model)

    assert [(len(one.tokens), one.failures) for one in listeners] == [(3, [])] * 2
