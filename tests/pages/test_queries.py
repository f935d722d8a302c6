"""However much there is, a page asks the database a fixed number of questions."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from hub.ablations.models import Ablation, Contribution
from hub.accounts.models import User
from hub.adapters.models import Release
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
    "/libraries/demo/versions/1/contributions?sort=expert",
    "/libraries/demo/evaluations",
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
    "/feed",
    "/libraries/demo/feed",
    "/sitemap-adapters.xml",
    "/cards/hub.png",
    "/api/v1/adapters?search=a",
    "/api/v1/libraries/demo/versions",
    "/api/v1/libraries/demo/versions/1",
    "/api/v1/libraries/demo/diff?from=1&to=2",
    "/api/v1/ablations/{ablation}",
    "/api/models?full=true",
)
MOST = 30  # the adapter page, which shows most


def asked(client: Client, path: str, **numbers: int) -> int:
    path = path.format(**numbers)
    client.get(path)  # the first look fills the cache of rendered cards
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def grow(ada: User, library: Library, numbers: range) -> None:
    for number in numbers:
        content.ready(ada, library, f"a{number}", message=f"release {number}", layers=1)
        content.ready(ada, library, "a0", message=f"again {number}", layers=1)
        making.publish(library)


def measure(library: Library) -> int:
    """Say of every release what it contributes to the first version; the number of the measurement."""
    known = {"lines": 10, "state": "done", "score": -0.8, "base_score": -1.9, "exact": 0.5, "base_exact": 0.1}
    found, _ = Ablation.objects.get_or_create(
        version=library.versions.get(number=1), rows_sha256="e" * 64, defaults={**known, "settled_at": now()}
    )
    figures = {"gain": 0.1, "low": 0.0, "high": 0.2, "exact_gain": 0.0, "exact_low": 0.0, "exact_high": 0.0}
    Contribution.objects.bulk_create(
        (Contribution(ablation=found, release=one, heard=1, **figures) for one in Release.objects.all()),
        ignore_conflicts=True,
    )
    return found.pk


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_content() -> None:
    ada, library = making.user("ada", is_staff=True), content.found_library()
    client = seen_by(ada)
    grow(ada, library, range(2))
    run = measure(library)
    few = {path: asked(client, path, ablation=run) for path in PATHS}

    grow(ada, library, range(2, 7))
    measure(library)

    assert {path: asked(client, path, ablation=run) for path in PATHS} == few
    assert max(few.values()) <= MOST
