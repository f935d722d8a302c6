"""However much there is, a page asks the database a fixed number of questions."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hub.accounts.models import User
from hub.library.models import Library
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by

PATHS = (
    "/",
    "/libraries/demo",
    "/adapters",
    "/adapters?q=a&status=ready&owner=ada",
    "/adapters?q=nothing-like-this&tag=lora&rank=5-8&owner=ada",
    "/ada",
    "/ada/a0",
    "/libraries/demo/play",
    "/libraries/demo/versions",
    "/libraries/demo/versions/1/contributions",
    "/libraries/demo/decisions",
    "/libraries/demo/map",
    "/libraries/demo/checkpoints",
    "/libraries/demo/checkpoints/new",
    "/libraries/demo/upload",
    "/settings/tokens",
    "/settings/notifications",
    "/notifications",
    "/settings/organisations",
    "/desk",
    "/desk/reports",
    "/desk/people",
    "/desk/jobs",
)
MOST = 30  # the adapter page, which shows most


def asked(client: Client, path: str) -> int:
    client.get(path)  # the first look fills the cache of rendered cards
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def grow(ada: User, library: Library, numbers: range) -> None:
    for number in numbers:
        content.ready(ada, library, f"a{number}", message=f"release {number}", layers=1)
        content.ready(ada, library, "a0", message=f"again {number}", layers=1)
        making.publish(library)


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_content() -> None:
    ada, library = making.user("ada", is_staff=True), content.found_library()
    client = seen_by(ada)
    grow(ada, library, range(2))
    few = {path: asked(client, path) for path in PATHS}

    grow(ada, library, range(2, 7))

    assert {path: asked(client, path) for path in PATHS} == few
    assert max(few.values()) <= MOST
