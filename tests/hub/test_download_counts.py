"""Downloads are counted once a day for each person or address, over HTTP as everybody fetches and reads them."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from hub.accounts.models import User
from hub.adapters import access
from hub.adapters.models import Adapter, Release
from hub.downloads import counting, services
from hub.downloads.models import DayOfDownloads, Download
from hub.library.models import Library
from tests.hub import making
from tests.hub.conftest import api_of

pytestmark = pytest.mark.django_db
SIZE = 2 * counting.A_PEEK
FILES = {**making.PLAIN, counting.WEIGHTS: bytes(SIZE), "README.md": b"# Poetry"}
TODAY = date(2026, 11, 26)


class Clock:
    """The day that it is for those who count."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.today = TODAY
        monkeypatch.setattr(services, "_today", lambda: self.today)

    def passes(self, days: int) -> None:
        self.today += timedelta(days=days)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def place() -> Library:
    return making.library()


@pytest.fixture
def release(ada: User, place: Library, clock: Clock) -> Release:
    return making.upload(ada, place, files=FILES)


@pytest.fixture
def eve(db: None) -> User:
    return making.user("eve")


def fetch(
    by: User | None = None,
    file: str = counting.WEIGHTS,
    *,
    name: str = "poetry",
    address: str = "192.0.2.1",
    headers: dict[str, str] | None = None,
) -> Any:
    """Somebody takes a file of main, to its last byte."""
    api = api_of(by)
    url = f"/ada/{name}/resolve/main/{file}"
    answer: Any = api.client.get(url, REMOTE_ADDR=address, headers={**api.headers, **(headers or {})})
    if answer.streaming:
        assert len(b"".join(answer.streaming_content)) == int(answer["Content-Length"])
    return answer


def counts(name: str = "poetry", by: User | None = None) -> tuple[int, int]:
    """What is read once a worker has added up: of the last 30 days, and of all."""
    services.add_up()
    query = "expand=downloads&expand=downloadsAllTime"
    api = api_of(by)
    seen = api.client.get(f"/api/models/ada/{name}?{query}", headers=api.headers).json()
    return seen["downloads"], seen["downloadsAllTime"]


def test_a_person_counts_once_a_day_and_again_on_the_next(release: Release, eve: User, clock: Clock) -> None:
    fetch(eve, address="192.0.2.1")
    fetch(eve, address="192.0.2.2")
    assert counts() == (1, 1)

    clock.passes(days=1)
    fetch(eve)

    assert counts() == (2, 2)


def test_visitors_without_a_name_count_by_their_address(release: Release) -> None:
    for last in (1, 2, 1):
        fetch(address=f"192.0.2.{last}")
    for last in (1, 2):
        fetch(address=f"2001:db8::{last}")  # one household
    fetch(address="2001:db8:0:1::1")
    fetch(address="::ffff:192.0.2.1")  # the first one, by another name

    assert counts() == (4, 4)


def test_who_fetches_two_releases_fetched_two(release: Release, ada: User, place: Library) -> None:
    fetch()
    making.upload(ada, place, files={**FILES, counting.WEIGHTS: b"\1" * SIZE})
    fetch()

    assert counts() == (2, 2)


RANGES = [
    ("bytes=0-", 200, 1),
    (f"bytes=0-{counting.A_PEEK}", 206, 1),
    (f"bytes=0-{counting.A_PEEK - 1}", 206, 0),
    ("bytes=0-0", 206, 0),
    (f"bytes={SIZE // 2}-", 206, 0),
    ("bytes=-1", 206, 0),
    (f"bytes={SIZE}-", 416, 0),
]


@pytest.mark.parametrize(("header", "status", "expected"), RANGES)
def test_a_part_counts_if_it_is_the_beginning_and_more_than_a_peek(
    release: Release, header: str, status: int, expected: int
) -> None:
    assert fetch(headers={"Range": header}).status_code == status

    assert counts() == (expected, expected)


def test_a_small_file_is_whole_however_it_is_asked_for(ada: User, place: Library) -> None:
    making.upload(ada, place)

    fetch(headers={"Range": "bytes=0-100000"})

    assert counts() == (1, 1)


def test_a_download_that_breaks_off_counts_and_its_rest_does_not_count_again(
    release: Release, eve: User
) -> None:
    api = api_of(eve)
    url = f"/ada/poetry/resolve/main/{counting.WEIGHTS}"
    answer: Any = api.client.get(url, headers=api.headers)
    next(answer._iterator)
    answer._iterator.close()
    fetch(eve, headers={"Range": "bytes=1000-"})

    assert counts() == (1, 1)


def test_nothing_else_counts(release: Release, ada: User) -> None:
    url = f"/ada/poetry/resolve/main/{counting.WEIGHTS}"
    etag = Client().head(url)["ETag"]
    assert fetch(headers={"If-None-Match": etag}).status_code == 304
    fetch(file="README.md")
    fetch(file="adapter_config.json")
    assert fetch(file="other.safetensors").status_code == 404
    fetch(ada)

    assert counts() == (0, 0)
    assert not Download.objects.exists()


def test_the_files_of_a_release_are_counted_under_every_name_that_they_are_given(
    release: Release, eve: User
) -> None:
    api = api_of(eve)
    files = api.get(f"/adapters/ada/poetry/releases/{release.oid}").json()["files"]
    url = next(file["url"] for file in files if file["path"] == counting.WEIGHTS)

    answer: Any = api.client.get(url, headers=api.headers)
    b"".join(answer.streaming_content)
    fetch(eve)

    assert counts() == (1, 1)


def test_private_adapters_count_those_who_may_have_them(ada: User, eve: User, place: Library) -> None:
    secret = making.upload(ada, place, "secret", FILES, private=True).adapter
    access.invite(adapter=secret, user=eve)

    assert fetch(name="secret").status_code == 404
    assert fetch(eve, name="secret").status_code == 200

    assert counts("secret", by=ada) == (1, 1)


def test_gated_adapters_count_those_who_were_let_in(release: Release, eve: User) -> None:
    access.gate(adapter=release.adapter, gating=Adapter.Gating.MANUAL)
    assert fetch(eve).status_code == 403
    access.invite(adapter=release.adapter, user=eve)

    fetch(eve)

    assert counts() == (1, 1)


def test_addresses_are_not_kept_and_days_cannot_be_linked(release: Release, clock: Clock) -> None:
    fetch()
    clock.passes(days=1)
    fetch()

    first, second = Download.objects.order_by("day").values_list("who", flat=True)
    assert first != second
    assert "192.0.2.1" not in first + second


def test_the_rows_of_a_day_go_when_it_is_over_and_its_count_stays(release: Release, clock: Clock) -> None:
    for last in range(3):
        fetch(address=f"192.0.2.{last}")
    clock.passes(days=1)
    assert counts() == (3, 3)
    assert Download.objects.count() == 3, "a slow server may still think that it is yesterday"

    clock.passes(days=1)

    assert counts() == (3, 3)
    assert not Download.objects.exists()
    assert DayOfDownloads.objects.get().count == 3


def test_days_without_any_worker_are_counted_afterwards(release: Release, clock: Clock) -> None:
    for _ in range(40):
        fetch()
        clock.passes(days=1)

    assert counts() == (29, 40)  # 30 days, of which today is one
    assert not Download.objects.filter(day__lt=clock.today - timedelta(days=1)).exists()


def test_days_leave_the_last_thirty_by_themselves(release: Release, clock: Clock) -> None:
    fetch()
    seen = []
    for days in (0, 29, 1, 1):
        clock.passes(days)
        seen.append(counts())

    assert seen == [(1, 1), (1, 1), (0, 1), (0, 1)]


def test_when_a_new_day_moves_all_figures_they_move_a_few_at_a_time(
    ada: User, place: Library, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "SLIDING_AT_ONCE", 2)
    for name in ("a", "b", "c"):
        making.upload(ada, place, name, {**FILES, counting.WEIGHTS: name.encode()})
        fetch(name=name)
    assert services.add_up() == 3, "what was counted is all added up at once"
    clock.passes(days=30)

    moved = [services.add_up() for _ in range(3)]

    assert moved == [2, 1, 0]
    assert [counts(name) for name in ("a", "b", "c")] == [(0, 1)] * 3


def test_adding_up_again_changes_nothing(release: Release, django_assert_max_num_queries: Any) -> None:
    fetch()
    assert services.add_up() == 1

    with django_assert_max_num_queries(3):
        assert services.add_up() == 0

    assert counts() == (1, 1)


def test_a_download_asks_the_database_for_one_row_more(
    release: Release, ada: User, eve: User, settings: Settings
) -> None:
    with CaptureQueriesContext(connection) as owners:
        fetch(ada)
    with CaptureQueriesContext(connection) as strangers:
        fetch(eve)

    more = [query["sql"] for query in strangers if "downloads_download" in query["sql"]]
    assert len(more) == 1
    assert more[0].startswith("INSERT")
    assert not [query for query in owners if "downloads_download" in query["sql"]]


def test_a_download_goes_on_when_it_cannot_be_counted(
    release: Release, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseError("database is locked")

    monkeypatch.setattr(Download.objects, "bulk_create", fail)

    assert fetch().status_code == 200

    assert "was not counted" in caplog.text
    assert counts() == (0, 0)


def test_lists_are_sorted_by_downloads_page_after_page(
    ada: User, place: Library, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.hf.listing.ADAPTERS_A_PAGE", 2)
    wanted = {"a": 1, "b": 3, "c": 0, "d": 2, "e": 0}
    for name, number in wanted.items():
        making.upload(ada, place, name, {**FILES, counting.WEIGHTS: name.encode()})
        for last in range(number):
            fetch(name=name, address=f"192.0.2.{last}")
    services.add_up()

    url, seen = "/api/models?sort=downloads&direction=-1", []
    while url:
        page = Client().get(url)
        seen += [(found["id"], found["downloads"]) for found in page.json()]
        url = page.get("Link", "").partition(">")[0].removeprefix("<http://testserver")

    assert seen == [("ada/b", 3), ("ada/d", 2), ("ada/a", 1), ("ada/e", 0), ("ada/c", 0)]


def test_the_json_api_says_both_and_what_they_mean(release: Release, eve: User, clock: Clock) -> None:
    fetch(eve)
    clock.passes(days=31)
    fetch(eve)
    services.add_up()

    seen = api_of(None).get("/adapters/ada/poetry").json()

    assert (seen["downloads"], seen["downloads_all_time"]) == (1, 2)
    described = api_of(None).get("/openapi.json").json()["components"]["schemas"]["AdapterOut"]["properties"]
    assert "each counted once a day" in described["downloads"]["description"]


FORWARDED = [
    (0, "198.51.100.7", "203.0.113.1"),
    (1, "198.51.100.7", "198.51.100.7"),
    (1, "10.0.0.1, 198.51.100.7", "198.51.100.7"),
    (2, "198.51.100.7, 10.0.0.1", "198.51.100.7"),
    (2, "198.51.100.7", "203.0.113.1"),
    (1, "unknown", "203.0.113.1"),
]


@pytest.mark.parametrize(("proxies", "header", "same_as"), FORWARDED)
def test_proxies_are_believed_as_far_as_they_are_trusted(
    release: Release, settings: Settings, proxies: int, header: str, same_as: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    fetch(address="203.0.113.1", headers={"X-Forwarded-For": header})

    settings.TRUSTED_PROXIES = 0
    fetch(address=same_as)

    assert counts() == (1, 1)
