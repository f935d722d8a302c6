"""The pages' tests: content in every state, and visitors of each kind."""

import pytest
from django.test import Client

from hub.accounts.models import User
from tests.hub.conftest import room  # noqa: F401  blobs and temporary files of one test, alone
from tests.pages import content
from tests.pages.content import Content


@pytest.fixture
def made(db: None) -> Content:
    """Everything there is to look at."""
    return content.typical()


def seen_by(user: User | None) -> Client:
    """A browser of this person, or of nobody we know."""
    client = Client(headers={"Accept": "text/html"})
    if user is not None:
        client.force_login(user)
    return client
