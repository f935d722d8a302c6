from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.plugin import DjangoDbBlocker

from tests.workers.live import LiveHub, live_hub


@pytest.fixture
def hub(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[LiveHub]:
    """An empty hub with a SQLite file and a data folder of its own."""
    with django_db_blocker.unblock(), live_hub(tmp_path / "data") as hub:
        yield hub
