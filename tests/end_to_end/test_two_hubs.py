"""Two hubs on one machine: they follow each other's public library, or push to each other, and end with the
same adapters.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.hub_process import RunningHub, eventually, files_of, free_port, running_hub
from tests.tiny import tiny_adapter, tiny_llama

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # two whole hubs: six processes of torch
TAG = "fletch-library:tiny,fletch:ready"


@pytest.fixture
def hubs(tmp_path: Path) -> Iterator[tuple[RunningHub, RunningHub]]:
    """Each may import from the other and export to it, and has to do with nobody else."""
    ports = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        pair = []
        for place, (own, other) in enumerate((ports, ports[::-1])):
            folder = tmp_path / f"hub-{place}" / "data"
            folder.parent.mkdir()
            there = f"http://127.0.0.1:{other}"
            allowed = {"FLETCH_IMPORT_FROM": there, "FLETCH_EXPORT_TO": there}
            hub = stack.enter_context(running_hub(folder, allowed, web_port=own))
            hub.manage("create_library", "tiny", str(tiny_llama()), "--wait")
            hub.manage("create_user", "mirror", "--email", "mirror@example.org")
            pair.append(hub)
        yield pair[0], pair[1]


def contribute(hub: RunningHub, owner: str, folder: Path, *, seed: int) -> httpx.Client:
    """An adapter, by somebody new; their client."""
    adapter = tiny_adapter(folder / owner, seed=seed, rank=2)
    client = hub.contributor(owner, "write", "read")
    answer = client.post("/libraries/tiny/adapters/tale/releases", files=files_of(adapter))
    assert answer.status_code == 202, answer.text
    return client


def weights(hub: RunningHub) -> dict[str, str]:
    """What is an expert there, by the digest of its weights, as any Hugging Face client sees it."""
    found = {}
    for model in httpx.get(f"{hub.web}/api/models", params={"filter": TAG}, timeout=30).json():
        info = httpx.get(f"{hub.web}/api/models/{model['id']}?blobs=true", timeout=30).json()
        files = {one["rfilename"]: one for one in info["siblings"]}
        found[files["adapter_model.safetensors"]["blobId"]] = model["id"]
    return found


def test_two_hubs_that_follow_each_other_end_with_identical_digests(
    hubs: tuple[RunningHub, RunningHub], tmp_path: Path
) -> None:
    here, there = hubs
    contribute(here, "ada", tmp_path, seed=1)
    contribute(here, "bea", tmp_path, seed=2)
    contribute(there, "cleo", tmp_path, seed=3)
    eventually(lambda: len(weights(here)) == 2 and len(weights(there)) == 1, log=here.log, seconds=150)

    there.manage("follow_list", "tiny", TAG, "--owner", "mirror", "--wait")
    eventually(lambda: len(weights(there)) == 3, log=there.log, seconds=150)
    assert "3 repositories" in here.manage("follow_list", "tiny", TAG, "--owner", "mirror", "--wait")
    eventually(lambda: len(weights(here)) == 3, log=here.log, seconds=150)
    there.manage("follow_list", "tiny", TAG, "--owner", "mirror", "--wait")

    assert weights(here).keys() == weights(there).keys()
    assert set(weights(here).values()) == {"ada/tale", "bea/tale", "mirror/cleo-tale"}
    assert set(weights(there).values()) == {"mirror/ada-tale", "mirror/bea-tale", "cleo/tale"}
    again = httpx.get(f"{here.web}/api/v1/libraries/tiny/mirrors", timeout=30).json()
    known = {one["repo"]: one["note"] for one in again}
    assert "here already, as release 1 of ada/tale" in known["mirror/ada-tale"]
    assert known["cleo/tale"] == ""


def test_a_release_that_is_pushed_becomes_an_expert_there_and_is_known_when_it_comes_back(
    hubs: tuple[RunningHub, RunningHub], tmp_path: Path
) -> None:
    here, there = hubs
    client = contribute(here, "ada", tmp_path, seed=1)
    eventually(lambda: len(weights(here)) == 1, log=here.log, seconds=150)
    token = there.contributor("ada-l", "write").headers["Authorization"].removeprefix("Bearer ")
    wish = {"to": there.web, "repo": "ada-l/verses", "token": token}

    asked = client.post("/adapters/ada/tale/exports", json=wish)
    assert asked.status_code == 202, asked.text
    path = f"/adapters/ada/tale/exports/{asked.json()['id']}"
    eventually(lambda: client.get(path).json()["status"] != "requested", log=here.log, seconds=60)

    export = client.get(path).json()
    assert (export["status"], export["note"]) == ("done", "")
    eventually(lambda: len(weights(there)) == 1, log=there.log, seconds=150)
    assert weights(there) == dict.fromkeys(weights(here), "ada-l/verses")
    card = httpx.get(f"{there.web}/api/models/ada-l/verses", timeout=30).json()["cardData"]
    assert card["fletch_origin"] == f"{here.web}/ada/tale@{export['release']}"
    assert card["fletch_verdict"]["status"] == "ready"
    here.manage("follow_list", "tiny", TAG, "--owner", "mirror", "--wait")
    mirrors = f"{here.web}/api/v1/libraries/tiny/mirrors"
    eventually(lambda: httpx.get(mirrors, timeout=30).json()[0]["looked_at"], log=here.log, seconds=60)
    note = httpx.get(mirrors, timeout=30).json()[0]["note"]
    assert note == "these weights came from here, as ada/tale #1"
    assert token not in here.log.read_text() + there.log.read_text()
