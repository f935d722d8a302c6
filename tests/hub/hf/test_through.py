"""Base models of another hub are read through this one, by the unmodified clients and under one HF_ENDPOINT."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from hub import threads
from hub.accounts import services as accounts
from hub.accounts.models import User
from hub.hf import elsewhere
from tests.hub import making
from tests.hub.hf.another_hub import COMMIT, AnotherHub, another_hub
from tests.hub.hf.conftest import Clients
from tests.hub.hf.cutting import line_to
from tests.hub.hf.test_cut_lines import CLIENTS_PIECE
from tests.tiny import tiny_adapter, tiny_llama


@pytest.fixture
def there(settings: Settings) -> Iterator[AnotherHub]:
    """Another hub that has a base, read through from here."""
    cache.clear()
    with another_hub(tiny_llama()) as hub:
        settings.READ_THROUGH = hub.address
        yield hub


@pytest.fixture
def get(ada: User) -> Any:
    """Asks as ada does, without a client in between."""
    _, token = accounts.issue_token(user=ada, name="laptop", scopes=("read",))
    client = Client()

    def ask(path: str, **headers: str) -> Any:
        return client.get(path, headers={"Authorization": f"Bearer {token}", **headers})

    return ask


def test_clients_read_what_is_only_there(there: AnotherHub, ada: User, client_of: Clients) -> None:
    seen = client_of(ada).call("bases", "read", repo="org/base")

    files = {path.name: path.read_bytes() for path in tiny_llama().iterdir()}
    assert (seen["id"], seen["commit"]) == ("org/base", COMMIT)
    assert seen["files"] == {name: content.hex()[:64] for name, content in files.items()}
    assert (seen["tree"], seen["asked for"]) == (sorted(files), ["config.json"])
    assert (seen["branches"], seen["there"]) == (["main"], [True, False])
    assert seen["one"] == files["config.json"].decode()
    assert {method for method, _, _ in there.asked} == {"GET", "HEAD"}
    for _, _, headers in there.asked:
        assert {"authorization", "cookie"}.isdisjoint(name.lower() for name in headers), headers
        assert headers["User-Agent"] == "fletch-read-through"


def test_a_base_is_loaded_by_its_name_and_an_adapter_on_it(
    there: AnotherHub, ada: User, client_of: Clients, tmp_path: Path
) -> None:
    folder = tiny_adapter(tmp_path / "adapter", tiny_llama())
    config = json.loads((folder / "adapter_config.json").read_text()) | {
        "base_model_name_or_path": "org/base"
    }
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    making.upload(
        ada, making.library(), "poetry", {**files, "adapter_config.json": json.dumps(config).encode()}
    )

    seen = client_of(ada).call(
        "peft_loading", "by_name", base="org/base", adapter="ada/poetry", same=str(tiny_llama())
    )

    assert seen == {"same": True, "adapted": True}


def test_names_of_somebody_here_are_never_asked_elsewhere(there: AnotherHub, ada: User, get: Any) -> None:
    eve = making.user("eve")
    making.upload(eve, making.library(), "secret", private=True)

    answers = [get(f"/api/models/{name}") for name in ("eve/secret", "Eve/secret", "ada/base", "eve/none")]

    assert [answer.status_code for answer in answers] == [404] * 4
    assert {answer["X-Error-Code"] for answer in answers} == {"RepoNotFound"}
    assert not there.asked


def test_who_does_not_sign_in_reads_only_what_is_here(there: AnotherHub, ada: User) -> None:
    browser = Client()
    browser.force_login(ada)

    answers = [client.get("/org/base/resolve/main/config.json") for client in (Client(), browser)]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert "for those who sign in" in answers[0].json()["error"]
    assert not there.asked


@pytest.mark.parametrize(
    "path",
    [
        "/org/base/resolve/main/a/../../../secret",
        "/org/base/resolve/main/%2e%2e/config.json",
        "/api/models/org/base/tree/main/../x",
        "/api/models/../base",
        "/api/models/org/ba%20se",
        "/api/models/org/base%3Fx",
        "/datasets/base/resolve/main/config.json",
    ],
)
def test_crooked_names_are_not_asked_for(there: AnotherHub, get: Any, path: str) -> None:
    assert get(path).status_code in {400, 404, 501}
    assert not there.asked


def test_without_the_setting_nothing_is_asked(there: AnotherHub, get: Any, settings: Settings) -> None:
    settings.READ_THROUGH = ""

    answers = [get(path) for path in ("/api/models/org/base", "/base/resolve/main/config.json")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert not there.asked


def test_what_was_just_said_is_not_asked_again(there: AnotherHub, get: Any) -> None:
    for _ in range(3):
        assert get("/api/models/org/base?blobs=true").json()["id"] == "org/base"
        assert get("/api/models/org/none")["X-Error-Code"] == "RepoNotFound"

    assert there.paths == ["GET /api/models/org/base", "GET /api/models/org/none"]


def test_names_of_one_word_are_bases_too(there: AnotherHub, get: Any) -> None:
    assert get("/api/models/base/revision/main").json()["sha"] == COMMIT
    assert b"".join(get("/base/resolve/main/config.json").streaming_content).startswith(b"{")


def test_pages_lead_on_at_this_hub_and_name_no_chunks(there: AnotherHub, get: Any) -> None:
    first = get("/api/models/org/base/tree/main?recursive=true")

    address, _, _ = first["Link"].partition(";")
    assert address.startswith("<http://testserver/api/models/org/base/tree/main?")
    second = get(address.strip("<>").removeprefix("http://testserver"))
    listed = [*first.json(), *second.json()]
    assert [entry["path"] for entry in listed] == sorted(path.name for path in tiny_llama().iterdir())[:6]
    assert "xetHash" not in str(listed)


def test_a_part_of_a_large_file_comes_as_a_stranger(there: AnotherHub, get: Any) -> None:
    answer = get("/org/base/resolve/main/model.safetensors", Range="bytes=10-19")

    content = (tiny_llama() / "model.safetensors").read_bytes()
    assert (answer.status_code, b"".join(answer.streaming_content)) == (206, content[10:20])
    assert answer["Content-Range"] == f"bytes 10-19/{len(content)}"
    assert (answer["X-Repo-Commit"], answer["X-Linked-Size"]) == (COMMIT, str(len(content)))
    assert answer["Content-Security-Policy"].startswith("sandbox")
    assert "X-Xet-Hash" not in answer
    assert "Set-Cookie" not in answer.headers


def test_what_leads_into_this_network_is_not_followed(there: AnotherHub, get: Any) -> None:
    there.leads_to = "https://127.0.0.1:1/secret"

    answer = get("/org/base/resolve/main/model.safetensors")

    assert answer.status_code == 502
    assert "not a public address" in answer.json()["error"]


def test_a_gate_there_is_a_gate_here(there: AnotherHub, get: Any) -> None:
    answer = get("/api/models/org/gated")

    assert (answer.status_code, answer["X-Error-Code"]) == (403, "GatedRepo")


def test_what_fails_there_fails_here_and_is_asked_again(there: AnotherHub, get: Any) -> None:
    there.status = 500

    answer = get("/api/models/org/base")

    assert (answer.status_code, answer.json()["error"]) == (
        502,
        f"{there.address} answers 500 for /api/models/org/base",
    )
    there.status = 200
    assert get("/api/models/org/base").status_code == 200


def test_what_is_cut_there_goes_on_where_it_broke_off(
    there: AnotherHub, ada: User, client_of: Clients, settings: Settings, tmp_path: Path
) -> None:
    there.folder = tmp_path / "there"
    there.folder.mkdir()
    content = random.Random(1).randbytes(CLIENTS_PIECE * 2)
    (there.folder / "model.bin").write_bytes(content)
    with line_to(there.address) as line:
        settings.READ_THROUGH, line.down = line.url, CLIENTS_PIECE + CLIENTS_PIECE // 2

        done = client_of(ada).hf("download", "org/base", "model.bin", "--local-dir", str(tmp_path / "here"))

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "model.bin").read_bytes() == content
    assert b"range: bytes=" in bytes(line.asked).lower()
    assert line.received < len(content) + CLIENTS_PIECE


def test_most_threads_of_a_process_stay_for_what_is_here(
    there: AnotherHub, get: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "LENT", BoundedSemaphore(1))

    held = get("/org/base/resolve/main/config.json")

    assert get("/api/models/org/base").status_code == 429
    held.close()
    assert get("/api/models/org/base").status_code == 200


def test_a_place_is_given_back_read_or_not(
    there: AnotherHub, get: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "STREAMS", BoundedSemaphore(1))
    monkeypatch.setattr(elsewhere, "SECONDS_FOR_A_PLACE", 0.01)
    path = "/org/base/resolve/main/config.json"

    held, refused = get(path), get(path)

    assert (refused.status_code, refused["Retry-After"]) == (429, "5")
    held.close()
    assert get(path).status_code == 200


def test_nobody_reads_through_without_end(
    there: AnotherHub, get: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(elsewhere, "MOST_A_MINUTE", 2)
    monkeypatch.setattr("hub.hf.elsewhere.time.time", lambda: 90.0)

    answers = [get(f"/api/models/org/none-{number}") for number in range(3)]

    assert [answer.status_code for answer in answers] == [404, 404, 429]
    assert answers[-1]["Retry-After"] == "30"


def test_a_client_says_that_the_other_hub_is_down(settings: Settings, ada: User, client_of: Clients) -> None:
    cache.clear()
    settings.READ_THROUGH = "http://127.0.0.1:9"

    said = client_of(ada).call("bases", "ask", repo="org/base")

    assert "502 Bad Gateway" in said
    assert "http://127.0.0.1:9 cannot be read" in said
