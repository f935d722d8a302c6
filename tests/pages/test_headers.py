"""What a browser is told to refuse."""

import re

import pytest
from django.test import Client

from hub.library.models import Library
from tests.hub import making
from tests.pages import content
from tests.pages.conftest import seen_by
from tests.pages.content import HOSTILE

PATHS = (
    "/",
    "/adapters?q=script",
    "/libraries/demo",
    "/nobody/nothing",
    "/accounts/login/",
    "/accounts/signup/",
    "/ada/hostile",
)


@pytest.fixture
def library(db: None) -> Library:
    library = content.found_library()
    content.hostile(making.user("ada"), library)
    return library


@pytest.mark.parametrize("path", PATHS)
def test_the_policy_is_strict(library: Library, path: str) -> None:
    answer = Client().get(path)

    policy = dict(part.strip().split(" ", 1) for part in answer["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["style-src"] == "'self'"
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", PATHS)
def test_pages_name_no_other_host_and_carry_no_inline_code(library: Library, path: str) -> None:
    html = Client().get(path).content.decode()

    assert not re.search(r'(?:src|srcset|action)="(?:https?:)?//', html)
    assert not re.search(r'<link[^>]+href="(?:https?:)?//', html)
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", html.replace("onerror=alert(2)", ""))


def test_what_a_stranger_chose_is_never_markup(library: Library) -> None:
    for path in ("/ada/hostile", "/libraries/demo", "/ada"):
        assert HOSTILE not in seen_by(None).get(path).content.decode(), path


def test_an_error_of_ours_shows_nothing_of_it(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.pages.listing.shelf", lambda: 1 / 0)
    client = Client(raise_request_exception=False)

    answer = client.get("/")

    assert answer.status_code == 500
    assert "it is our fault" in answer.content.decode()
    assert "ZeroDivisionError" not in answer.content.decode()
