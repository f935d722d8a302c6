"""People and their tokens."""

from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.test import Client
from django.utils import timezone

from hub.accounts import services
from hub.accounts.models import ApiToken, User
from hub.errors import Invalid, NotFound, NotSignedIn
from tests.hub import making
from tests.hub.conftest import Api, api_of

pytestmark = pytest.mark.django_db


def whoami(secret: str) -> int:
    return Client().get("/api/v1/whoami", headers={"Authorization": f"Bearer {secret}"}).status_code


def test_a_token_is_shown_once_and_kept_as_a_digest(ada: User) -> None:
    token, secret = services.issue_token(user=ada, name="laptop", scopes=["read"])

    assert secret.startswith("hf_")
    assert len(secret) == len("hf_") + 64
    row = ApiToken.objects.filter(pk=token.pk).values().get()
    assert secret not in str(row)
    assert services.authenticate(secret).user == ada


def test_the_last_use_of_a_token_is_noted(ada: User) -> None:
    _, secret = services.issue_token(user=ada, name="laptop", scopes=["read"])

    assert whoami(secret) == 200
    assert ApiToken.objects.get().last_used_at is not None


def test_a_revoked_token_is_worthless_at_once(ada: User) -> None:
    token, secret = services.issue_token(user=ada, name="laptop", scopes=["read"])
    services.revoke_token(user=ada, token_id=token.pk)

    assert whoami(secret) == 401


def test_nobody_revokes_the_token_of_another(ada: User) -> None:
    token, secret = services.issue_token(user=ada, name="laptop", scopes=["read"])

    with pytest.raises(NotFound):
        services.revoke_token(user=making.user("eve"), token_id=token.pk)
    assert whoami(secret) == 200


def test_an_expired_token_is_refused(ada: User) -> None:
    _, secret = services.issue_token(
        user=ada, name="x", scopes=["read"], expires_at=timezone.now() - timedelta(seconds=1)
    )

    with pytest.raises(NotSignedIn, match="expired"):
        services.authenticate(secret)


def test_the_token_of_a_closed_account_is_refused(ada: User) -> None:
    _, secret = services.issue_token(user=ada, name="x", scopes=["read"])
    User.objects.update(is_active=False)

    assert whoami(secret) == 401


@pytest.mark.parametrize("scopes", [[], ["root"], ["read", "root"]])
def test_a_token_needs_known_scopes(ada: User, scopes: list[str]) -> None:
    with pytest.raises(Invalid, match="scopes"):
        services.issue_token(user=ada, name="x", scopes=scopes)


@pytest.mark.parametrize(
    ("scopes", "status"), [(["read"], 403), (["infer"], 403), (["write"], 404), (["admin"], 404)]
)
def test_writing_needs_the_scope_for_it(ada: User, scopes: list[str], status: int) -> None:
    answer = api_of(ada, *scopes).send("/libraries/none/adapters/x/releases", {})

    assert answer.status_code == status


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Bearer hf_wrong", "Basic YTpi", "hf_x", ""])
def test_a_wrong_header_is_not_signed_in(header: str) -> None:
    answer = Api(Client(), {"Authorization": header}).get("/whoami")

    assert answer.status_code == 401
    assert answer.json()["error"] == "not_signed_in"
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("name", ["admin", "API", "-a", "a-", "a--b", "a_b", "a.b", "ä", "a b", "x" * 40, ""])
def test_names_that_deceive_or_are_reserved_cannot_be_taken(name: str) -> None:
    with pytest.raises(ValidationError):
        User(username=name, email="a@example.org", password="x").full_clean()


def test_names_differ_in_more_than_case(ada: User) -> None:
    assert User.objects.create_user(username="EVE").username == "eve"
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.create_user(username="ADA")
    with pytest.raises(IntegrityError), transaction.atomic():
        User.objects.bulk_create([User(username="Ada")])


def sign_up(name: str) -> None:
    form = {
        "username": name,
        "email": f"{name}@example.org",
        "password1": "correct horse 9",
        "password2": "correct horse 9",
    }
    Client().post("/accounts/signup/", form)


def test_who_signs_up_gets_a_lower_case_name_and_can_sign_in_with_any_case() -> None:
    sign_up("Grace")

    assert User.objects.get().username == "grace"
    browser = Client()
    browser.post("/accounts/login/", {"login": "GRACE", "password": "correct horse 9"})
    assert "_auth_user_id" in browser.session


@pytest.mark.parametrize("name", ["admin", "a--b", "x_y"])
def test_nobody_signs_up_with_a_bad_name(name: str) -> None:
    sign_up(name)

    assert User.objects.count() == 0
