"""Signing in with a second factor: asked wherever one signs in, kept encrypted, with a way back."""

import re
import time

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal import auth as totp
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from hub.accounts.models import User
from tests.hub import making

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse"


@pytest.fixture
def ada(db: None) -> User:
    cache.clear()  # limits on signing in
    return making.user("ada", is_staff=True, is_superuser=True)


def code_for(secret: str) -> str:
    counter = int(time.time()) // 30
    return str(totp.format_hotp_value(totp.hotp_value(secret, counter)))


def signed_in(user: User) -> Client:
    """With the password, as somebody who sets up a factor is asked for."""
    browser = Client(headers={"Accept": "text/html"})
    browser.post("/accounts/login/", {"login": user.username, "password": PASSWORD})
    return browser


def set_up(user: User) -> tuple[str, list[str]]:
    """The secret of the app, and the recovery codes."""
    browser = signed_in(user)
    browser.post("/accounts/reauthenticate/", {"password": PASSWORD})
    page = browser.get("/accounts/2fa/totp/activate/").content.decode()
    secret = re.search(r'class="secret"[^>]*>([A-Z2-7]+)<', page)
    assert secret is not None
    browser.post("/accounts/2fa/totp/activate/", {"code": code_for(secret[1])})
    codes = browser.get("/accounts/2fa/recovery-codes/").content.decode()
    Authenticator.objects.update(last_used_at=None)
    cache.clear()
    return secret[1], re.findall(r"<code>(\d+)</code>", codes)


def test_signing_in_asks_for_the_code_and_takes_no_other(ada: User) -> None:
    secret, _ = set_up(ada)
    browser = signed_in(ada)

    before = browser.get("/settings/tokens").status_code
    wrong = browser.post("/accounts/2fa/authenticate/", {"code": "000000"})
    browser.post("/accounts/2fa/authenticate/", {"code": code_for(secret)})

    assert before == 302
    assert "Incorrect code" in wrong.content.decode()
    assert browser.get("/settings/tokens").status_code == 200


def test_a_recovery_code_signs_in_once(ada: User) -> None:
    _, codes = set_up(ada)
    assert len(codes) == 10

    for status in (200, 302):
        browser = signed_in(ada)
        browser.post("/accounts/2fa/authenticate/", {"code": codes[0]})
        assert browser.get("/settings/tokens").status_code == status


def test_the_admin_has_no_door_of_its_own(ada: User) -> None:
    set_up(ada)
    browser = Client(headers={"Accept": "text/html"})

    browser.post("/admin/login/", {"username": "ada", "password": PASSWORD})

    assert browser.get("/admin/").status_code == 302


def test_a_stolen_database_gives_nobody_the_secret(ada: User, settings: Settings) -> None:
    secret, codes = set_up(ada)

    kept = str(list(Authenticator.objects.values_list("data", flat=True)))

    assert secret not in kept
    assert not [code for code in codes if code in kept]


def test_a_request_by_a_shorter_way_than_the_proxies_signs_in_all_the_same(
    ada: User, settings: Settings
) -> None:
    settings.TRUSTED_PROXIES = settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2
    browser = Client(headers={"X-Forwarded-For": "192.0.2.7"})

    answer = browser.post("/accounts/login/", {"login": "ada", "password": PASSWORD})

    assert answer.status_code == 302
    assert "_auth_user_id" in browser.session
