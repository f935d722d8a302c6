"""Reading with the unmodified client: what an adapter is, its files, its history, and what is missing."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.adapters import services as adapters
from hub.adapters.models import Adapter, Release
from hub.downloads import services as downloads
from hub.hf import describing
from hub.jobs.models import JobKind
from tests.hub import making
from tests.hub.hf.conftest import Clients

LARGE = b"\x01" * (describing.LARGE + 5)
CARD = b"---\nlicense: mit\nbase_model: org/tiny\ntags: [poems]\ndate: 2026-01-02\n---\n# Poems\n"
FILES = {**making.PLAIN, "adapter_model.safetensors": LARGE, "README.md": CARD, "extra/notes.txt": b"notes"}


@pytest.fixture
def release(ada: User) -> Release:
    place = making.library()
    making.upload(ada, place, "secret", private=True)
    making.upload(ada, place, "poetry", {**FILES, "README.md": b"# First\n"}, message="First try")
    found = making.upload(ada, place, "poetry", FILES, message="Second try\n\nWith a card.")
    making.take(JobKind.VALIDATE)
    making.take(JobKind.VALIDATE)
    making.accept(found)
    return found


def test_the_client_sees_what_an_adapter_is(release: Release, ada: User, client_of: Clients) -> None:
    seen = client_of(ada).call("reading", "describe", repo="ada/poetry")

    assert seen["whoami"]["name"] == "ada"
    assert seen["whoami"]["auth"]["accessToken"]["role"] == "write"
    assert (seen["sha"], seen["library_name"], seen["license"]) == (release.oid, "peft", "mit")
    assert {"peft", "lora", "poems", "license:mit", "base_model:org/tiny", "fletch:ready"} <= set(
        seen["tags"]
    )
    assert not [tag for tag in seen["tags"] if "/bases/" in tag]
    assert seen["security"] == {"scansDone": True, "filesWithIssues": []}
    assert (seen["fletch"]["release"], seen["fletch"]["status"]) == (2, "ready")
    sizes = {path: file[0] for path, file in seen["files"].items()}
    assert sizes == {path: len(content) for path, content in FILES.items()}
    assert seen["files"]["adapter_model.safetensors"][2] == hashlib.sha256(LARGE).hexdigest()
    assert seen["files"]["README.md"][2] is None
    assert sorted(seen["tree"]) == sorted(["RepoFolder extra", *(f"RepoFile {path}" for path in FILES)])
    assert (seen["last"]["README.md"], seen["last"]["extra/notes.txt"]) == ("Second try", "First try")
    assert seen["folder"] == ["extra/notes.txt"]
    assert seen["info_of"] == ["README.md", "extra"]
    assert seen["branches"] == {"main": release.oid}
    assert seen["commits"] == [["Second try", "With a card.", ["ada"]], ["First try", "", ["ada"]]]
    assert seen["expanded"] == 0


def test_what_is_missing_is_missing_and_no_broken_connection(
    release: Release, ada: User, eve: User, client_of: Clients
) -> None:
    held = making.upload(ada, release.library, "held")
    adapters.quarantine(release=held, by=None, reason="it leaks")

    seen = client_of(eve).call("reading", "probe", repo="ada/poetry", private="ada/secret", held="ada/held")

    assert [seen[name] for name in ("file", "repo", "revision")] == [True] * 3
    assert [seen[name] for name in ("no file", "no repo", "no revision", "private")] == [False] * 4
    kinds = {name: error[0] for name, error in seen["errors"].items()}
    assert kinds == {
        "no file": "RemoteEntryNotFoundError",
        "no revision": "RevisionNotFoundError",
        "no repo": "RepositoryNotFoundError",
        "no folder": "RemoteEntryNotFoundError",
        "held back": "DisabledRepoError",
        "data set": "HfHubHTTPError",
        "token": "HfHubHTTPError",
    }
    assert "ada/poetry has no file nothing.md" in seen["errors"]["no file"][1]
    assert "501" in seen["errors"]["data set"][1]
    assert "keeps adapters only" in seen["errors"]["data set"][1]


def test_what_is_downloaded_is_what_was_uploaded(
    release: Release, client_of: Clients, tmp_path: Path
) -> None:
    seen = client_of(None).call("reading", "download", repo="ada/poetry", place=str(tmp_path / "copy"))

    assert seen["cached"] == {path: content.hex()[:64] for path, content in FILES.items()}
    assert (seen["commit"], seen["same"], seen["local"]) == (release.oid, True, sorted(FILES))
    assert seen["one"] == CARD.decode()


def test_the_command_line_downloads_and_is_counted_once(
    release: Release, client_of: Clients, tmp_path: Path
) -> None:
    done = client_of(None).hf("download", "ada/poetry", "--local-dir", str(tmp_path / "copy"))

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy" / "adapter_model.safetensors").read_bytes() == LARGE
    until(lambda: downloads.add_up() == 1)
    assert Client().get("/api/models/ada/poetry").json()["downloads"] == 1


def until(is_so: Callable[[], bool]) -> None:
    """The hub counts when the bytes are sent, and the client may be gone by then."""
    give_up = time.monotonic() + 10.0
    while not is_so():
        assert time.monotonic() < give_up, "it was not counted"
        time.sleep(0.05)


def test_who_downloads_what_is_no_expert_is_told_so(
    release: Release, ada: User, client_of: Clients, tmp_path: Path
) -> None:
    making.upload(ada, release.library, "draft")

    done = client_of(None).hf("download", "ada/draft", "--local-dir", str(tmp_path / "copy"))

    assert done.returncode == 0, done.stderr
    assert "release 1 is still being examined" in done.stderr


def test_adapters_are_found_by_what_they_say_page_after_page(
    release: Release, ada: User, eve: User, client_of: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.hf.listing.ADAPTERS_A_PAGE", 2)
    place = release.library
    for number in range(5):
        making.upload(eve, place, f"song-{number}")
    Adapter.objects.filter(name="song-1").update(downloads=7)
    Adapter.objects.filter(name="poetry").update(downloads=5)
    expected: list[tuple[dict[str, Any], list[str]]] = [
        ({"sort": "created_at"}, [*(f"eve/song-{number}" for number in reversed(range(5))), "ada/poetry"]),
        ({"author": "eve", "search": "song-3"}, ["eve/song-3"]),
        ({"filter": ["poems", "license:mit"]}, ["ada/poetry"]),
        ({"filter": ["poems", "license:apache"]}, []),
        ({"filter": "fletch:ready", "full": True}, ["ada/poetry"]),
        ({"filter": "fletch:rejected"}, []),
        ({"sort": "created_at", "limit": 3}, ["eve/song-4", "eve/song-3", "eve/song-2"]),
        ({"sort": "downloads", "limit": 4}, ["eve/song-1", "ada/poetry", "eve/song-4", "eve/song-3"]),
    ]

    found = client_of(None).call("reading", "find", searches=[wanted for wanted, _ in expected])

    assert found == [answer for _, answer in expected]
