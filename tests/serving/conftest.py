"""A published library behind a live server, shared by the tests that only ask it questions."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from routing.composed import ComposedModel, compose
from tests.routing.libraries import SmallLibrary, llama_library
from tests.routing.published import POLICY, PublishedLibrary
from tests.serving.lines import REQUESTS, Lines
from tests.serving.live import LiveServer, live_server


@pytest.fixture(scope="session")
def small_library(tmp_path_factory: pytest.TempPathFactory) -> SmallLibrary:
    return llama_library(tmp_path_factory.getbasetemp() / "serving-adapters")


@pytest.fixture(scope="session")
def composed(small_library: SmallLibrary) -> ComposedModel:
    """What the server must agree with: the same experts composed in this process."""
    return compose(small_library.base(), small_library.experts(), POLICY)


@pytest.fixture(scope="session")
def live(small_library: SmallLibrary, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """Serves the library `tales` at version 1, for tests that change nothing."""
    published = PublishedLibrary(tmp_path_factory.mktemp("store"), small_library)
    published.publish(1)
    with live_server(published.url) as server:
        server.wait_for_version("tales", 1)
        yield server


@pytest.fixture
def published(small_library: SmallLibrary, tmp_path: Path) -> PublishedLibrary:
    """A store of one's own, nothing published yet."""
    return PublishedLibrary(tmp_path / "store", small_library)


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Lines:
    """What the log says of the requests that this test names."""
    caplog.set_level(logging.INFO, REQUESTS)
    return Lines(caplog, f"{request.function.__name__}-{uuid4().hex}")
