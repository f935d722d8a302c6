"""Reports of serving processes: believed with the right signature, added up once, kept as sums."""

import hmac
import json
from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.indexes.models import IndexVersion
from hub.search.models import Entry
from hub.uses import services
from hub.uses.models import DayOfUse, ExpertUse, Reporter, VersionUse
from hub.uses.signatures import report_key
from tests.hub import making

pytestmark = pytest.mark.django_db
TODAY = date(2026, 11, 26)
MODULES = ["model.layers.0.q_proj", "model.layers.1.q_proj"]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.today = TODAY
        monkeypatch.setattr(services, "_today", lambda: self.today)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def version(ada: User) -> IndexVersion:
    place = making.library()
    for name in ("poetry", "chess"):
        making.accept(making.upload(ada, place, name, {**making.PLAIN, "README.md": name.encode()}))
    return making.publish(place)


def report(version: IndexVersion, **changed: Any) -> dict[str, Any]:
    said = {
        "format": 1,
        "instance": "0a" * 16,
        "number": 1,
        "day": TODAY.isoformat(),
        "library": version.library.slug,
        "version": version.number,
        "manifest": version.manifest,
        "modules": MODULES,
        "tokens": [10, 10],
        "hits": {"ada/poetry": [7, 0]},
    }
    return said | changed


def send(said: dict[str, Any], *, key: str | None = None) -> Any:
    body = json.dumps(said).encode()
    signature = hmac.new((key or report_key()).encode(), body, "sha256").hexdigest()
    headers = {"X-Fletch-Signature": f"sha256={signature}"}
    return Client().post("/api/v1/uses", body, content_type="application/json", headers=headers)


def test_reports_of_several_processes_are_summed_by_module_and_by_day(version: IndexVersion) -> None:
    send(report(version))
    send(report(version, instance="0b" * 16, hits={"ada/poetry": [1, 2], "ada/chess": [10, 10]}))

    poetry = ExpertUse.objects.get(release__adapter__name="poetry")
    days = {
        row.release.adapter.name if row.release else "": row.places
        for row in DayOfUse.objects.filter(day=TODAY)
    }
    assert poetry.hits == [8, 2]
    assert VersionUse.objects.get().tokens == [20, 20]
    assert days == {"": 40, "poetry": 10, "chess": 20}


def test_a_report_that_comes_again_is_added_up_once(version: IndexVersion) -> None:
    answers = [send(report(version)).json(), send(report(version)).json()]

    assert answers == [{"added": True}, {"added": False}]
    assert VersionUse.objects.get().tokens == [10, 10]


def test_nobody_is_believed_without_the_key(version: IndexVersion) -> None:
    assert send(report(version), key="another").status_code == 401
    assert Client().post("/api/v1/uses", "{}", content_type="application/json").status_code == 401
    assert not VersionUse.objects.exists()


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"tokens": [10]}, 400),
        ({"hits": {"ada/poetry": [11, 0]}}, 400),
        ({"hits": {"ada/poetry": [-1, 0]}}, 400),
        ({"hits": {"ada/poetry": [1]}}, 400),
        ({"modules": [MODULES[0], MODULES[0]]}, 400),
        ({"modules": ["another", MODULES[1]], "number": 2}, 400),
        ({"day": (TODAY - timedelta(days=2)).isoformat()}, 400),
        ({"manifest": "f" * 64}, 404),
        ({"library": "unknown"}, 404),
        ({"prompt": "what somebody asked"}, 400),
    ],
)
def test_a_report_that_cannot_be_true_is_refused_whole(
    version: IndexVersion, changed: dict[str, Any], status: int
) -> None:
    send(report(version))

    refused = send(report(version, **({"number": 2} | changed)))

    assert refused.status_code == status
    assert VersionUse.objects.get().tokens == [10, 10]
    assert Reporter.objects.get().number == 1


def test_who_is_no_member_of_the_version_is_left_out(version: IndexVersion, ada: User) -> None:
    hidden = making.upload(ada, version.library, "hidden", private=True)
    making.accept(hidden)

    send(report(version, hits={"ada/hidden": [1, 1], "ada/nobody": [1, 1], "ada/chess": [1, 1]}))

    assert [use.release.adapter.name for use in ExpertUse.objects.all()] == ["chess"]


def test_adapters_can_be_sorted_by_how_much_they_were_used_in_the_last_month(
    version: IndexVersion, clock: Clock
) -> None:
    send(report(version, hits={"ada/poetry": [7, 0], "ada/chess": [9, 9]}))
    services.add_up()

    def first() -> str:
        found = Client().get("/api/v1/adapters", {"sort": "used"}).json()["adapters"]
        return str(found[0]["full_name"])

    assert first() == "ada/chess"
    assert dict(Entry.objects.values_list("adapter__name", "used")) == {"poetry": 4, "chess": 9}

    clock.today += timedelta(days=31)
    services.add_up()

    assert set(Entry.objects.values_list("used", flat=True)) == {None}


def test_what_is_old_is_forgotten(version: IndexVersion, clock: Clock) -> None:
    send(report(version))
    clock.today += timedelta(days=91)

    services.add_up()

    assert not DayOfUse.objects.exists()
    assert not VersionUse.objects.exists()
    assert not ExpertUse.objects.exists()
