"""A base spread over places as an operator says it to the serving process."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch

from routing.base import load_base
from routing.spread import parts
from routing.store import LibraryRef
from tests.routing.published import PublishedLibrary
from workers.serving import __main__ as process
from workers.serving.base_loading import load_model
from workers.serving.options import Options

Started = Callable[..., Options]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The options of a process that is started with these words, which changes nothing of this one."""
    seen: list[Options] = []
    monkeypatch.setattr(process, "create_app", lambda options, _traces: seen.append(options))
    monkeypatch.setattr(process, "_keep_pauses_short", lambda: None)
    monkeypatch.setattr("workers.serving.__main__.heap.share", lambda: None)
    monkeypatch.setattr("workers.serving.__main__.logs.begin", lambda _format: None)
    for name in ("_listening", "_listen"):
        monkeypatch.setattr(process, name, lambda *_: None)
    monkeypatch.setattr(torch, "set_num_threads", lambda _count: None)

    def start(*words: str) -> Options:
        process.main([*words, "--device", "cpu"])
        return seen[-1]

    return start


def test_the_room_that_is_said_is_the_room_that_the_base_gets(
    published: PublishedLibrary, started: Started, caplog: pytest.LogCaptureFixture
) -> None:
    size = sum(weight.nbytes for weight in load_base(published.base).model.parameters())
    caplog.set_level(logging.INFO)

    options = started("--store", published.url, "--spread", f"cpu={size * 3 // 4000}KB")
    model = load_model(published.store, LibraryRef(published.base, published.spec.digest), options)

    found = parts(model.base.model).values()
    assert {str(place) for place in found} == {"cpu", "disk"}
    lying = list(map(str, found))
    assert f"its parts lie {lying.count('cpu')} on cpu, {lying.count('disk')} on disk" in caplog.text


def test_without_the_option_the_base_is_loaded_whole(published: PublishedLibrary, started: Started) -> None:
    options = started("--store", published.url)

    assert options.spread is None
    model = load_model(published.store, LibraryRef(published.base, published.spec.digest), options)
    assert model.base.places is None


def test_what_is_no_room_is_refused_before_anything_is_loaded(
    started: Started, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        started("--store", "nowhere", "--spread", "gpu=3GiB")

    assert "--spread: found 'gpu=3GiB', expected auto alone, or DEVICE=ROOM" in capsys.readouterr().err
