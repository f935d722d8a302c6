"""Pushing to another hub from the command line: whose token goes where, and how it ends."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django import Settings

from hub.accounts.models import User
from hub.adapters.models import Release
from hub.exports import sealing, services
from hub.exports.models import Export
from hub.jobs import services as jobs
from hub.jobs.models import JobKind
from tests.fletch.running import Shell
from tests.fletch.terminal import terminal
from tests.hub import making

THERE = "https://there.example"
TO = ("--to", THERE, "--repo", "eve/verses")


@pytest.fixture(autouse=True)
def allowed(settings: Settings) -> None:
    settings.EXPORT_TO = (THERE, "https://huggingface.co")


@pytest.fixture
def release(ada: User) -> Release:
    return making.ready(ada, making.library())


def token_kept() -> str:
    return sealing.opened(Export.objects.latest("pk").token)


def ended(*, note: str = "", commit: str = "") -> None:
    """Do what a worker does."""
    claim = making.take(JobKind.EXPORT)
    number = claim.ids["export_id"]
    if commit:
        services.record_done(claim, number, commit=commit)
    else:
        services.record_refused(claim, number, note=note)
    jobs.finish(claim)


def test_a_piped_token_goes_with_the_wish_and_is_not_printed(shell: Shell, release: Release) -> None:
    asked = shell.fletch("export", "ada/poetry", *TO, "--private", "--json", stdin="hf_theirs\n")

    assert asked.status == 7, asked.err
    assert token_kept() == "hf_theirs"
    document: dict[str, Any] = asked.document
    assert (document["release"], document["repo"], document["private"]) == (release.oid, "eve/verses", True)
    assert "hf_theirs" not in asked.out + asked.err


def test_a_token_is_typed_where_nobody_sees_it(shell: Shell, release: Release) -> None:
    with terminal(shell, "export", "ada/poetry", *TO) as screen:
        screen.read_until(f"API token for {THERE}")
        screen.type("hf_typed\n")
        assert screen.process.wait(30) == 7
        assert b"hf_typed" not in screen.shown

    assert token_kept() == "hf_typed"


def test_a_hugging_face_token_goes_to_its_own_hub_only(shell: Shell, release: Release) -> None:
    own = {"HF_TOKEN": "hf_own"}
    not_there = shell.fletch("export", "ada/poetry", *TO, **own)
    named = shell.fletch("export", "ada/poetry", *TO, HF_ENDPOINT=THERE, **own)
    first = token_kept()
    public = shell.fletch(
        "export", "ada/poetry", "--to", "https://huggingface.co/", "--repo", "eve/verses", **own
    )

    assert not_there.status == 2
    assert "no token came on standard input" in not_there.err
    assert (named.status, first) == (7, "hf_own")
    assert (public.status, token_kept()) == (7, "hf_own")


ENDINGS = [
    ({"note": f"{THERE} does not accept the token\x1b[2J"}, 6, "does not accept the token\\x1b[2J"),
    ({"commit": "c" * 40}, 0, f"{THERE}/eve/verses/commit/{'c' * 40}"),
]


@pytest.mark.parametrize(("ending", "status", "said"), ENDINGS)
def test_whoever_follows_sees_the_end_and_gets_its_exit_code(
    shell: Shell, release: Release, ending: dict[str, str], status: int, said: str
) -> None:
    with terminal(shell, "export", f"ada/poetry@{release.oid}", *TO, "--follow") as screen:
        screen.read_until("API token")
        screen.type("hf_theirs\n")
        screen.read_until("waiting for a worker")
        ended(**ending)
        screen.read_until(said)
        assert screen.process.wait(30) == status


def test_what_is_not_there_or_not_allowed_is_said(shell: Shell, release: Release, settings: Settings) -> None:
    unknown = shell.fletch("export", "ada/nothing", *TO, stdin="hf_theirs")
    senseless = shell.fletch("export", "nothing", *TO, stdin="hf_theirs")
    foreign = shell.fletch("export", "12", *TO, stdin="hf_theirs")
    settings.EXPORT_TO = ()
    off = shell.fletch("export", "ada/poetry", *TO, stdin="hf_theirs")

    assert [unknown.status, senseless.status, foreign.status] == [4, 2, 3]
    assert "this needs admin" in foreign.err
    assert off.status == 6
    assert "FLETCH_EXPORT_TO" in off.err
