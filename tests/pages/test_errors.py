"""A refusal looks like the hub and is called what it is."""

from typing import Any

import pytest
from django.template.loader import render_to_string
from django.test import Client

from hub import errors


@pytest.mark.django_db
def test_who_tries_too_often_is_told_so_on_a_page_of_the_hub(settings: Any) -> None:
    settings.ACCOUNT_RATE_LIMITS = {"reset_password": "1/m/ip"}
    client = Client()

    answers = [client.post("/accounts/password/reset/", {"email": "a@example.org"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [302, 429]
    assert "<h1>Too much at once</h1>" in answers[1].content.decode()


@pytest.mark.parametrize(
    ("error", "title"),
    [
        (errors.NotServed(), "Nobody answers"),
        (errors.OtherHub("none"), "The other hub failed"),
        (errors.Stale(), "That does not fit"),
        (errors.Invalid("What?"), "Not understood"),
    ],
)
def test_an_error_page_is_called_what_went_wrong(error: errors.HubError, title: str) -> None:
    page = render_to_string("error.html", {"error": error, "request": None})

    assert f"<h1>{title}</h1>" in page
