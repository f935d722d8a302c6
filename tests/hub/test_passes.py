"""Passes: who may ask the serving processes, for how long and how much, as the hub says it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from hub import signing
from hub.accounts.models import User
from hub.indexes import passes
from hub.jobs.models import Job, JobKind
from hub.library import services as libraries
from hub.library.models import Library
from tests.hub.conftest import Api, api_of
from tests.hub.signed import known_library, statement

pytestmark = pytest.mark.django_db


@pytest.fixture
def place() -> Library:
    return known_library()


def asked(api: Api, **body: object) -> Any:
    return api.post("/libraries/tiny/pass", body)


def test_a_pass_says_who_may_ask_which_library_how_much_and_until_when(ada: User, place: Library) -> None:
    answer = asked(api_of(ada))
    body = answer.json()
    said = statement(body.pop("token"))
    until = datetime.fromtimestamp(said.pop("expires"), UTC)

    assert answer.status_code == 200
    assert said == {
        "format": 1,
        "kind": "pass",
        "caller": "ada",
        "libraries": ["tiny"],
        "answers": 8,
        "tokens_per_minute": 60_000,
    }
    assert timedelta(minutes=9) < until - datetime.now(UTC) <= timedelta(minutes=10)
    assert datetime.fromisoformat(body.pop("expires_at")) - until < timedelta(seconds=1)
    assert body == {"libraries": ["tiny"], "answers_at_once": 8, "tokens_per_minute": 60_000}


def test_the_operator_says_the_limits_and_none_is_none(ada: User, place: Library, settings: Settings) -> None:
    settings.SERVING_ANSWERS_AT_ONCE, settings.SERVING_TOKENS_PER_MINUTE = 3, 0

    said = statement(asked(api_of(ada)).json()["token"])

    assert (said["answers"], said["tokens_per_minute"]) == (3, None)


def test_a_pass_may_be_good_for_every_library(ada: User, place: Library) -> None:
    body = asked(api_of(ada), everywhere=True).json()

    assert body["libraries"] is None
    assert statement(body["token"])["libraries"] is None


def test_a_session_may_ask_a_token_to_infer_may_ask_and_nobody_in_particular_may_not(
    ada: User, place: Library
) -> None:
    browser = Client()
    browser.force_login(ada)
    address, json_ = "/api/v1/libraries/tiny/pass", "application/json"

    assert browser.post(address, content_type=json_).status_code == 200
    assert asked(api_of(ada, "infer")).status_code == asked(api_of(ada, "read")).status_code == 200
    assert Client().post(address, content_type=json_).status_code == 401
    assert api_of(ada).post("/libraries/none/pass", {}).status_code == 404
    assert asked(api_of(ada), everywhere="perhaps").status_code == 400


def test_the_first_pass_after_a_new_secret_key_waits_for_a_worker_to_say_the_key(
    ada: User, place: Library, settings: Settings
) -> None:
    settings.SECRET_KEY = "another secret key of this hub, which is long enough"
    waiting = asked(api_of(ada))

    assert (waiting.status_code, waiting.json()["error"]) == (409, "conflict")
    assert Job.objects.filter(kind=JobKind.PROMOTE, state=Job.State.QUEUED).exists()

    libraries.record_guest_key(place.pk, signing.public_key())
    assert statement(asked(api_of(ada)).json()["token"])["caller"] == "ada"


def test_a_pass_takes_no_query(
    ada: User, place: Library, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        assert passes.issue(user=ada, library=place).token
