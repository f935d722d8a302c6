"""Who may do what: every door of the API and of the downloads, for every kind of visitor."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from hub.accounts.models import User
from hub.adapters import services as adapters
from hub.adapters.models import Release
from hub.errors import Conflict
from tests.hub import making
from tests.hub.conftest import Api, api_of

pytestmark = pytest.mark.django_db
ROLES = ("owner", "other", "anonymous", "maintainer", "staff")
R = "/adapters/ada/{name}/releases/main"

# door -> status for: owner, other, anonymous, maintainer, staff
PUBLIC: dict[str, tuple[int, int, int, int, int]] = {
    "GET /libraries": (200, 200, 200, 200, 200),
    "GET /libraries/tiny": (200, 200, 200, 200, 200),
    "GET /libraries/tiny/versions": (200, 200, 200, 200, 200),
    "GET /libraries/tiny/versions/1": (200, 200, 200, 200, 200),
    "GET /libraries/tiny/diff?from=1&to=1": (200, 200, 200, 200, 200),
    "GET /limits": (200, 200, 200, 200, 200),
    "GET /whoami": (200, 200, 401, 200, 200),
    "GET /organisations/lab": (403, 403, 401, 403, 403),
    "GET /adapters/ada/open": (200, 200, 200, 200, 200),
    f"GET {R.format(name='open')}": (200, 200, 200, 200, 200),
    "FILE open": (200, 200, 200, 200, 200),
    "GET /adapters/ada/secret": (200, 404, 404, 404, 200),
    f"GET {R.format(name='secret')}": (200, 404, 404, 404, 200),
    "FILE secret": (200, 404, 404, 404, 200),
    "FILE held": (200, 403, 403, 200, 200),
    f"POST {R.format(name='open')}/yank": (200, 403, 401, 403, 403),
    f"POST {R.format(name='secret')}/yank": (200, 404, 401, 404, 403),
    f"POST {R.format(name='open')}/quarantine": (403, 403, 401, 200, 200),
    f"POST {R.format(name='secret')}/quarantine": (403, 404, 401, 404, 200),
    f"POST {R.format(name='open')}/restore": (403, 403, 401, 200, 200),
    "POST /libraries/tiny/promote": (403, 403, 401, 200, 200),
    "POST /libraries/tiny/checkpoints": (202, 202, 401, 202, 202),
    "GET /checkpoints/1": (404, 404, 404, 404, 404),
    "SEND": (202, 202, 401, 202, 202),
}


@pytest.fixture
def world(ada: User) -> dict[str, User | None]:
    maintainer = making.user("max")
    place = making.library(maintainer=maintainer)
    making.ready(ada, place, "open")
    making.publish(place)
    making.upload(ada, place, "secret", private=True)
    held = making.upload(ada, place, "held")
    Release.objects.filter(pk=held.pk).update(quarantined_at="2026-01-01T00:00:00Z")
    return {
        "owner": ada,
        "other": making.user("eve"),
        "anonymous": None,
        "maintainer": maintainer,
        "staff": making.user("zoe", is_staff=True),
    }


BODIES = {"promote": {"number": 1, "reason": "why"}, "checkpoints": {"kind": "routed"}}


def knock(api: Api, door: str) -> int:
    verb, _, path = door.partition(" ")
    calls: dict[str, Callable[[], Any]] = {
        "GET": lambda: api.get(path),
        "POST": lambda: api.post(path, BODIES.get(path.rpartition("/")[2], {"reason": "why"})),
        "FILE": lambda: api.client.get(f"/ada/{path}/resolve/main/adapter_config.json", headers=api.headers),
        "SEND": lambda: api.send(
            "/libraries/tiny/adapters/mine/releases", {"files": [making.form_file("a.json")]}
        ),
    }
    return int(calls[verb]().status_code)


@pytest.mark.parametrize("door", PUBLIC)
def test_each_door_opens_for_whom_it_should(world: dict[str, User | None], door: str) -> None:
    assert tuple(knock(api_of(world[role]), door) for role in ROLES) == PUBLIC[door]


def test_no_door_of_the_api_is_missing_from_the_table() -> None:
    def patterns(node: URLResolver | URLPattern, prefix: str = "") -> list[str]:
        path = prefix + str(node.pattern)
        if isinstance(node, URLPattern):
            return [path]
        return [found for inner in node.url_patterns for found in patterns(inner, path)]

    api = [path.removeprefix("api/v1/") for path in patterns(get_resolver()) if path.startswith("api/v1/")]
    named = [path for path in api if path not in {"openapi.json", "docs", ""}]
    known = [door.partition(" ")[2].partition("?")[0].strip("/") for door in PUBLIC] + [
        "libraries/tiny/adapters/mine/releases"
    ]

    assert {len(path.split("/")) for path in named} <= {len(path.split("/")) for path in known}
    assert len(named) <= len({_shape(path) for path in known})


def _shape(path: str) -> str:
    given = {"tiny", "ada", "open", "secret", "main", "1", "mine"}
    return "/".join("*" if part in given else part for part in path.split("/"))


def test_a_session_sees_its_own_private_adapter_and_a_stranger_does_not(
    world: dict[str, User | None], ada: User
) -> None:
    browser = Client()
    browser.force_login(ada)

    assert browser.get("/api/v1/adapters/ada/secret").status_code == 200
    assert Client().get("/api/v1/adapters/ada/secret").status_code == 404


def test_nobody_uploads_into_the_name_of_another(world: dict[str, User | None], ada: User) -> None:
    before = Release.objects.filter(adapter__owner=ada).count()

    api_of(world["other"]).send(
        "/libraries/tiny/adapters/open/releases", {"files": [making.form_file("a.json")]}
    )

    assert Release.objects.filter(adapter__owner=ada).count() == before
    assert Release.objects.filter(adapter__owner__username="eve").count() == 1


def test_an_owner_who_restores_at_the_moment_of_a_quarantine_does_not_lift_it(ada: User) -> None:
    release = making.ready(ada, making.library(), "poetry")
    adapters.quarantine(release=Release.objects.get(), by=None, reason="it leaks")

    with pytest.raises(Conflict):
        adapters.restore(release=release, by=ada)

    assert Release.objects.get().quarantined_at is not None


def test_the_docs_page_loads_nothing_from_another_host() -> None:
    page = Client().get("/api/v1/docs").content.decode()

    assert "http://" not in page.replace("http://testserver", "")
    assert "https://" not in page
