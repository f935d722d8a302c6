"""`hf auth login`: a program shows a code, its owner types it here, and the program gets a token of its own."""

import re
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from hub.accounts import devices
from hub.accounts.models import ApiToken, DeviceLogin, User
from tests.hub import making
from tests.hub.hf.conftest import Clients
from tests.pages.conftest import seen_by

pytestmark = pytest.mark.django_db
GRANT = "urn:ietf:params:oauth:grant-type:device_code"
AGENT = "huggingface_hub/2.4.0; python/3.11.7; torch/2.13.0"


def begun(program: Client) -> dict[str, Any]:
    answer = program.post("/oauth/device", {"client_id": "any"}, headers={"User-Agent": AGENT})
    assert answer.status_code == 200
    return dict(answer.json())


def asked(program: Client, begin: dict[str, Any], **fields: str) -> tuple[int, dict[str, Any]]:
    form = {"grant_type": GRANT, "device_code": begin["device_code"], "client_id": "any", **fields}
    answer = program.post("/oauth/token", form)
    return answer.status_code, dict(answer.json())


def decided(person: Client, begin: dict[str, Any], decision: str, **fields: str) -> str:
    """What the page says after the button."""
    form = {"code": begin["user_code"], "decision": decision, **fields}
    return person.post("/settings/device", form).content.decode()


def made_older(by: timedelta) -> None:
    DeviceLogin.objects.update(expires_at=timezone.now() + devices.LIFE - by, asked_at=None)


@pytest.fixture
def ada(db: None) -> User:
    return making.user("ada")


@pytest.mark.parametrize(
    ("rights", "scopes"), [("write", ["read", "write"]), ("read", ["read"]), ("", ["read"])]
)
def test_who_lets_a_program_in_says_what_it_may_do(
    ada: User, client: Client, rights: str, scopes: list[str]
) -> None:
    begin = begun(client)
    page = seen_by(ada).get(begin["verification_uri_complete"]).content.decode()
    assert "Let huggingface_hub/2.4.0 in?" in page
    assert begin["user_code"] in page
    assert asked(client, begin)[1]["error"] == "authorization_pending"

    assert "huggingface_hub/2.4.0 is in" in decided(seen_by(ada), begin, "approve", rights=rights)
    status, given = asked(client, begin)

    token = ApiToken.objects.get(user=ada)
    assert (status, token.scopes) == (200, scopes)
    assert given["expires_in"] > timedelta(days=1).total_seconds(), "or the client refreshes at every call"
    assert token.expires_at is not None
    assert token.name.startswith("huggingface_hub/2.4.0, signed in ")
    bearer = {"Authorization": f"Bearer {given['access_token']}"}
    assert client.get("/api/whoami-v2", headers=bearer).json()["name"] == "ada"


def test_a_token_is_handed_out_once(ada: User, client: Client) -> None:
    begin = begun(client)
    decided(seen_by(ada), begin, "approve", rights="read")

    assert asked(client, begin)[0] == 200
    assert asked(client, begin)[1]["error"] == "expired_token"
    assert ApiToken.objects.count() == 1


def test_a_program_that_was_turned_away_is_told_so(ada: User, client: Client) -> None:
    begin = begun(client)

    assert "was turned away" in decided(seen_by(ada), begin, "deny")

    assert asked(client, begin) == (
        400,
        {"error": "access_denied", "error_description": "The person said no."},
    )
    assert not ApiToken.objects.exists()


def test_who_decided_cannot_decide_again(ada: User, client: Client) -> None:
    begin = begun(client)
    decided(seen_by(ada), begin, "deny")

    answer = seen_by(ada).post("/settings/device", {"code": begin["user_code"], "decision": "approve"})

    assert answer.status_code == 404
    assert asked(client, begin)[1]["error"] == "access_denied"


def test_a_code_lives_for_ten_minutes(ada: User, client: Client) -> None:
    begin = begun(client)
    made_older(timedelta(minutes=10, seconds=1))

    page = seen_by(ada).get("/settings/device", {"code": begin["user_code"]}).content.decode()

    assert "No program waits under this code" in page
    assert asked(client, begin)[1]["error"] == "expired_token"


def test_an_approval_that_nobody_fetched_dies_with_its_code(ada: User, client: Client) -> None:
    begin = begun(client)
    decided(seen_by(ada), begin, "approve", rights="write")
    made_older(timedelta(minutes=10, seconds=1))

    assert asked(client, begin)[1]["error"] == "expired_token"
    assert not ApiToken.objects.exists()


def test_who_asks_too_often_is_slowed_down(client: Client) -> None:
    begin = begun(client)

    assert [asked(client, begin)[1]["error"] for _ in range(2)] == ["authorization_pending", "slow_down"]


def test_another_grant_is_refused_in_oauths_words(client: Client) -> None:
    begin = begun(client)

    status, answer = asked(client, begin, grant_type="refresh_token")

    assert (status, answer["error"]) == (400, "unsupported_grant_type")
    assert "refresh_token" in answer["error_description"]


def test_nobody_decides_without_signing_in(client: Client) -> None:
    begin = begun(client)

    answer = client.post("/settings/device", {"code": begin["user_code"], "decision": "approve"})

    assert answer.status_code == 302
    assert asked(client, begin)[1]["error"] == "authorization_pending"


def test_codes_are_read_as_people_type_them(client: Client) -> None:
    shown = begun(client)["user_code"]

    assert devices.waiting(f" {shown.lower().replace('-', ' ')} ").program == "huggingface_hub/2.4.0"


def test_only_so_many_may_wait(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MOST_WAITING", 2)
    for _ in range(2):
        begun(client)

    refused = client.post("/oauth/device", {"client_id": "any"})
    made_older(2 * devices.LIFE + timedelta(seconds=1))
    begun(client)

    assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
    assert DeviceLogin.objects.count() == 1, "the forgotten ones are gone"


def test_one_address_does_not_take_all_places(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MOST_OF_ONE_ADDRESS", 2)
    for _ in range(2):
        begun(client)

    here = client.post("/oauth/device", {"client_id": "any"})
    elsewhere = client.post("/oauth/device", {"client_id": "any"}, REMOTE_ADDR="192.0.2.7")

    assert (here.status_code, here.json()["error"]) == (503, "temporarily_unavailable")
    assert elsewhere.status_code == 200
    assert "127.0.0.1" not in str(list(DeviceLogin.objects.values()))


def test_what_a_program_calls_itself_is_shown_harmless(ada: User, client: Client) -> None:
    answer = client.post("/oauth/device", {}, headers={"User-Agent": "<b>x</b>\x07" + "y" * 500})

    page = seen_by(ada).get(answer.json()["verification_uri_complete"]).content.decode()

    assert "Let &lt;b&gt;x&lt;/b&gt;yyy" in page


@pytest.mark.django_db(transaction=True)
def test_the_real_command_signs_in(client_of: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "INTERVAL", 1)
    ada, nobody = making.user("ada"), client_of(None)
    program = subprocess.Popen(
        [sys.executable, str(nobody.python.parent / "hf"), "auth", "login"],
        env={**nobody.environment, "PYTHONUNBUFFERED": "1"},
        cwd=nobody.home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert program.stdout is not None
    said = ""
    while (shown := re.search(r"\b([A-Z]{4}-[A-Z]{4})\b", said)) is None:
        line = program.stdout.readline()
        assert line, said
        said += line

    devices.approve(user=ada, user_code=shown[1], scopes=["read"])

    rest, _ = program.communicate(timeout=60)
    assert program.returncode == 0, said + rest
    assert "ada" in nobody.hf("auth", "whoami").stdout
