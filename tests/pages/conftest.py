"""The pages' tests: content in every state, and visitors of each kind."""

import copy
from pathlib import Path

import pytest
from django.test import Client

from hub.accounts.models import User
from tests.hub.conftest import room  # noqa: F401  blobs and temporary files of one test, alone
from tests.pages import content
from tests.pages.content import Content
from tests.pages.frozen import Frozen, freeze

_frozen: list[Frozen[Content]] = []


@pytest.fixture
def made(db: None, tmp_path: Path) -> Content:
    """Everything there is to look at."""
    if _frozen:
        return _frozen[0].thaw(tmp_path)
    _frozen.append(freeze(content.typical, tmp_path))
    return copy.deepcopy(_frozen[0].made)


def seen_by(user: User | None) -> Client:
    """A browser of this person, or of nobody we know."""
    client = Client(headers={"Accept": "text/html"})
    if user is not None:
        client.force_login(user)
    return client
