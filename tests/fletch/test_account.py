"""Who is spoken to, as whom: and no token goes to a hub that it was not given for."""

from __future__ import annotations

import stat

from pytest_django.live_server_helper import LiveServer

from tests.end_to_end.hub_process import free_port
from tests.fletch.conftest import Elsewhere
from tests.fletch.running import Shell


def test_a_piped_token_is_checked_remembered_for_its_owner_alone_and_forgotten(
    stranger: Shell, live_server: LiveServer, token: str
) -> None:
    signed_in = stranger.fletch("login", "--hub", f"{live_server.url}/", stdin=f"{token}\n")

    kept = stranger.home / ".config" / "fletch" / "credentials.json"
    assert signed_in.status == 0, signed_in.err
    assert "as ada (write)" in signed_in.out
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    said = stranger.fletch("whoami", "--json").document
    assert (said["username"], said["hub"]) == ("ada", live_server.url)
    assert stranger.fletch("logout").status == 0
    assert token not in kept.read_text()
    assert stranger.fletch("whoami").status == 3


def test_a_wrong_token_is_not_remembered(stranger: Shell, live_server: LiveServer, token: str) -> None:
    refused = stranger.fletch("login", "--hub", live_server.url, stdin="hf_wrong\n")

    assert refused.status == 3
    assert "unknown or was revoked" in refused.err
    assert not (stranger.home / ".config").exists()


def test_a_hugging_face_token_goes_where_hf_endpoint_points_and_nowhere_else(
    stranger: Shell, live_server: LiveServer, token: str, elsewhere: Elsewhere
) -> None:
    there = stranger.fletch("whoami", "--json", HF_ENDPOINT=live_server.url, HF_TOKEN=token)
    not_there = stranger.fletch(
        "whoami", HF_ENDPOINT=elsewhere.url, HF_TOKEN=token, FLETCH_HUB=live_server.url
    )

    assert there.document["username"] == "ada"
    assert not_there.status == 3


def test_a_remembered_token_goes_to_its_own_hub_only(
    stranger: Shell, live_server: LiveServer, token: str, elsewhere: Elsewhere
) -> None:
    stranger.fletch("login", "--hub", live_server.url, stdin=f"{token}\n")

    answer = stranger.fletch("whoami", "--hub", elsewhere.url)

    assert answer.status == 5
    assert "found text/html with status 200, expected a Fletch hub's JSON" in answer.err
    assert elsewhere.heard
    assert not any("Authorization" in headers for headers in elsewhere.heard)


def test_errors_say_what_to_do_and_are_json_where_that_is_asked_for(stranger: Shell) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"

    unnamed = stranger.fletch("whoami")
    silent = stranger.fletch("whoami", "--json", "--hub", nowhere)
    misspelt = stranger.fletch("whoami", "--hub", "hub.example.org")

    assert (unnamed.status, unnamed.out) == (2, "")
    assert "fletch login --hub URL" in unnamed.err
    assert silent.status == 5
    assert silent.document["error"] == "unreachable"
    assert nowhere in silent.err
    assert misspelt.status == 2
    assert "found 'hub.example.org', expected an address" in misspelt.err
