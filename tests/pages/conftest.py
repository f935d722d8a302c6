"""The pages' tests: content in every state, and visitors of each kind."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import transaction
from django.test import Client
from playwright.sync_api import Browser

from hub.accounts.models import User
from tests.hub.conftest import room  # noqa: F401  blobs and temporary files of one test, alone
from tests.pages import content
from tests.pages.browser import chromium
from tests.pages.content import Content
from tests.pages.frozen import Frozen, freeze

_frozen: list[Frozen[Content]] = []


@pytest.fixture
def made(db: None, tmp_path: Path) -> Content:
    """Everything there is to look at."""
    if _frozen:
        with transaction.atomic():  # foreign keys are looked at when all of it is there
            return _frozen[0].thaw(tmp_path)
    _frozen.append(freeze(content.typical, tmp_path))
    return copy.deepcopy(_frozen[0].made)


@pytest.fixture(scope="module")
def browser(django_db_setup: None) -> Iterator[Browser]:
    """Playwright's loop runs in the thread of the tests, which also look into the database."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        with chromium() as started:
            yield started


def seen_by(user: User | None) -> Client:
    """A browser of this person, or of nobody we know."""
    client = Client(headers={"Accept": "text/html"})
    if user is not None:
        client.force_login(user)
    return client
