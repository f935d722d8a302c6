"""Guest lists: who may ask a library's model with which private experts, and until when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from hub import signing
from hub.accounts.models import User
from hub.adapters import access, repositories
from hub.adapters import services as adapters
from hub.adapters.models import Access, Adapter, Release
from hub.indexes import guests
from hub.jobs.models import Job, JobKind
from hub.library import services as libraries
from hub.library.models import Library
from tests.hub import making
from tests.hub.conftest import Api, api_of
from tests.hub.signed import known_library, statement

pytestmark = pytest.mark.django_db


@pytest.fixture
def place() -> Library:
    return known_library()


@pytest.fixture
def secret(ada: User, place: Library) -> Release:
    return private(ada, place, "secret")


def private(owner: User, place: Library, name: str) -> Release:
    release = making.upload(owner, place, name, private=True)
    making.accept(release)
    release.refresh_from_db()
    return release


def asked(api: Api, *experts: str) -> Any:
    return api.post("/libraries/tiny/private", {"experts": list(experts)} if experts else {})


def names(api: Api) -> list[str]:
    return [one["adapter"] for one in asked(api).json()["experts"]]


def test_an_owner_gets_a_signed_list_that_names_the_expert_as_a_manifest_would(
    ada: User, secret: Release
) -> None:
    answer = asked(api_of(ada))

    assert answer.status_code == 200, answer.content
    body = answer.json()
    said = statement(body["token"])
    until = datetime.fromtimestamp(said["expires"], UTC)
    assert body["experts"] == [{"adapter": "ada/secret", "release": secret.oid, "number": 1}]
    assert (said["format"], said["library"]) == (1, "tiny")
    assert said["experts"] == [
        {
            "adapter": "ada/secret",
            "release": secret.oid,
            "vectors": secret.vectors_digest,
            "factors": secret.factors_digest,
            "vectors_size": 10,
            "factors_size": 20,
        }
    ]
    assert timedelta(minutes=9) < until - datetime.now(UTC) <= timedelta(minutes=10)


def test_with_gates_it_is_known_by_its_gates(ada: User, secret: Release) -> None:
    gate = making.gate(secret)

    (entry,) = statement(asked(api_of(ada)).json()["token"])["experts"]

    assert (entry["vectors"], entry["vectors_size"]) == (gate.vectors_digest, gate.vectors_size)


def test_who_is_invited_gets_it_until_they_are_invited_no_longer(ada: User, secret: Release) -> None:
    bob, eve, staff = making.user("bob"), making.user("eve"), making.user("sue", is_staff=True)
    apis = {user.username: api_of(user) for user in (ada, bob, eve, staff)}
    before = {name: names(api) for name, api in apis.items()}

    access.invite(adapter=secret.adapter, user=bob)
    Access.objects.create(adapter=secret.adapter, user=eve, state=Access.State.REJECTED)
    invited = {name: names(api) for name, api in apis.items()}
    access.remove(adapter=secret.adapter, user=bob)
    after = {name: names(api) for name, api in apis.items()}

    nobody = {"ada": ["ada/secret"], "bob": [], "eve": [], "sue": []}
    assert before == after == nobody
    assert invited == {**nobody, "bob": ["ada/secret"]}
    assert asked(apis["eve"]).json()["token"] is None


def test_what_is_withdrawn_held_back_deleted_public_or_elsewhere_is_on_no_list(
    ada: User, place: Library
) -> None:
    making.ready(ada, place, "open")
    making.upload(ada, place, "waiting", private=True)
    yanked, held, deleted, shown = (private(ada, place, name) for name in ("y", "h", "d", "s"))
    other = private(ada, making.library("other"), "elsewhere")
    adapters.yank(release=yanked, by=ada, reason="no")
    adapters.quarantine(release=held, by=ada, reason="no")
    repositories.delete(adapter=deleted.adapter, by=ada)
    repositories.show(adapter=shown.adapter, private=False)

    assert names(api_of(ada)) == []
    assert list(guests.guests(ada, other.library)) == [other]

    adapters.restore(release=yanked, by=ada)
    assert names(api_of(ada)) == ["ada/y"]


def test_the_newest_ready_release_of_an_adapter_is_the_expert(ada: User, place: Library) -> None:
    private(ada, place, "secret")
    newer = making.upload(ada, place, "secret", {**making.PLAIN, "README.md": b"better"}, private=True)
    making.accept(newer)
    making.upload(ada, place, "secret", {**making.PLAIN, "README.md": b"not ready"}, private=True)

    (expert,) = asked(api_of(ada)).json()["experts"]

    assert (expert["release"], expert["number"]) == (newer.oid, 2)


def test_experts_can_be_named_and_one_that_is_not_theirs_is_not_found(
    ada: User, place: Library, secret: Release
) -> None:
    private(ada, place, "other")
    hidden = private(making.user("eve"), place, "hers")

    named = asked(api_of(ada), "ada/secret", "ada/secret").json()
    strange = asked(api_of(ada), "ada/secret", hidden.adapter.full_name)
    unknown = asked(api_of(ada), "no-name")

    assert [one["adapter"] for one in named["experts"]] == [secret.adapter.full_name]
    assert (strange.status_code, unknown.status_code) == (404, 404)
    assert "no private expert eve/hers that you may ask with" in strange.json()["detail"]


def test_more_than_one_list_holds_are_asked_for_by_name(
    ada: User, place: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "MOST", 2)
    for name in ("a", "b", "c"):
        private(ada, place, name)

    all_of_them, two = asked(api_of(ada)), asked(api_of(ada), "ada/a", "ada/c")

    assert all_of_them.status_code == 400
    assert "one list holds 2" in all_of_them.json()["detail"]
    assert len(two.json()["experts"]) == 2
    assert asked(api_of(ada), *(f"ada/{number}" for number in range(13))).status_code == 400


def test_a_session_may_ask_a_token_to_infer_may_ask_and_nobody_in_particular_may_not(
    ada: User, secret: Release
) -> None:
    browser = Client()
    browser.force_login(ada)
    address, json_ = "/api/v1/libraries/tiny/private", "application/json"

    (expert,) = browser.post(address, content_type=json_).json()["experts"]
    assert expert["adapter"] == "ada/secret"
    assert names(api_of(ada, "infer")) == names(api_of(ada, "read")) == ["ada/secret"]
    assert api_of(ada, "infer").get("/adapters/ada/secret").status_code == 403
    assert Client().post(address, content_type=json_).status_code == 401
    assert api_of(ada).post("/libraries/none/private", {}).status_code == 404


def test_the_first_list_after_a_new_secret_key_waits_for_a_worker_to_say_the_key(
    ada: User, secret: Release, settings: Settings
) -> None:
    settings.SECRET_KEY = "another secret key of this hub, which is long enough"
    waiting = asked(api_of(ada))

    assert (waiting.status_code, waiting.json()["error"]) == (409, "conflict")
    assert Job.objects.filter(kind=JobKind.PROMOTE, state=Job.State.QUEUED).exists()

    libraries.record_guest_key(secret.library.pk, signing.public_key())
    assert statement(asked(api_of(ada)).json()["token"])["library"] == "tiny"


def test_a_list_takes_the_same_few_queries_whatever_it_holds(
    ada: User, place: Library, secret: Release, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(1):
        assert guests.guest_list(user=ada, library=place).token
    for name in ("b", "c", "d"):
        private(ada, place, name)
    with django_assert_num_queries(1):
        assert len(guests.guest_list(user=ada, library=place).releases) == 4


def test_no_list_changes_what_the_hub_keeps_or_the_index(ada: User, secret: Release) -> None:
    before = (Job.objects.count(), Adapter.objects.count(), secret.memberships.count())

    asked(api_of(ada))

    assert (Job.objects.count(), Adapter.objects.count(), secret.memberships.count()) == before
    assert before[2] == 0
