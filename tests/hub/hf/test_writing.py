"""Writing with the unmodified client: repositories, commits, large files, branches and tags."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings

from hub.accounts.models import User
from hub.adapters.models import Adapter, Commit, Release
from hub.blobs import services as blobs
from hub.hf import describing, lfs
from hub.hf.models import Brought, Part, Xorb
from hub.jobs.models import Job, JobKind
from tests.hub import making
from tests.hub.hf.conftest import Clients

CONFIG = {**making.CONFIG, "base_model_name_or_path": "/home/ada/bases/tiny"}
WEIGHTS = random.Random(1).randbytes(3 * describing.LARGE + 12_345)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as peft saves it, with weights large enough to travel by themselves."""
    place = tmp_path / "adapter"
    place.mkdir()
    (place / "adapter_config.json").write_text(json.dumps(CONFIG))
    (place / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (place / "README.md").write_text("---\nlicense: mit\ntags: [poems]\n---\n# Poems\n")
    return place


def kept(repository: str) -> dict[str, bytes]:
    """What main holds now, read from the blobs."""
    release = Release.objects.get(adapter__name=repository.rpartition("/")[2])
    return {file.path: blobs.local_path(file.blob_id).read_bytes() for file in release.commit.files.all()}


WAYS = {"xet": {}, "lfs": {"HF_HUB_DISABLE_XET": "1"}}


@pytest.mark.parametrize("way", WAYS)
def test_hf_upload_of_a_folder_is_a_release_on_its_way_and_sent_once(
    way: str, ada: User, folder: Path, client_of: Clients
) -> None:
    making.library()
    client = replace(client_of(ada), settings=WAYS[way])

    done = client.hf("upload", "ada/poetry", str(folder), ".")

    assert done.returncode == 0, done.stderr
    assert kept("ada/poetry") == {path.name: path.read_bytes() for path in folder.iterdir()}
    release = Release.objects.get()
    assert (release.number, release.status, release.library.slug) == (1, "received", "tiny")
    assert Job.objects.filter(kind=JobKind.VALIDATE).count() == 1
    assert Xorb.objects.exists() == (way == "xet")
    assert list(settings.TEMPORARY.iterdir()) == []

    Brought.objects.all().delete()
    sent = list(Xorb.objects.values_list("name", "blob__stored_at"))
    again = client.call("writing", "upload_folder", repo="ada/poetry", folder=str(folder))

    assert again == release.oid
    assert Commit.objects.count() == 2
    assert list(Xorb.objects.values_list("name", "blob__stored_at")) == sent  # not one chunk came again
    assert Brought.objects.exists() == (way == "xet")  # which says once more what the chunks make


def test_streams_are_sent_by_lfs_in_parts(
    ada: User, folder: Path, client_of: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lfs, "PART", describing.LARGE)
    making.library()

    client_of(ada).call("writing", "upload_streams", repo="ada/poetry", folder=str(folder))

    assert kept("ada/poetry")["adapter_model.safetensors"] == WEIGHTS
    assert not Part.objects.exists()
    assert not Xorb.objects.exists()


def test_a_repository_from_its_first_day_to_its_last(ada: User, folder: Path, client_of: Clients) -> None:
    making.library()
    names = sorted(path.name for path in folder.iterdir())

    seen = client_of(ada).call("writing", "lifecycle", repo="ada/poetry", folder=str(folder))

    assert (seen["created"], seen["again"][0], seen["empty"]) == ("ada/poetry", 409, [[], []])
    assert seen["card"] == ["README.md"]
    assert seen["same again"]
    assert seen["stale"][0] == 412
    assert "look at it again" in seen["stale"][1]
    assert seen["files"] == sorted([*names, "notes/b.txt"])
    assert seen["without folder"] == sorted([*names, "copy.md"])
    assert seen["missing"][0] == 404
    assert "A file with this name doesn't exist" in seen["missing"][1]
    assert (seen["on branch"], seen["on main"]) == (True, False)
    assert seen["branches"] == ["main", "try/this"]
    assert (seen["tag is"], seen["tagged"]) == (True, sorted([*names, "notes/b.txt"]))
    assert seen["refs"] == [1, 0]
    assert (seen["hidden"], seen["shown"], seen["deleted"]) == (False, True, False)
    assert seen["gated"] == ["auto", ["ada/poetry"]]
    assert seen["renamed"] == [False, "ada/poetry-named"]
    assert seen["moved"][0] == 409
    assert "say by its name who their experts are" in seen["moved"][1]
    assert seen["given away"][0] == 501
    assert "stays with its owner" in seen["given away"][1]
    assert seen["name"][0] == 400
    assert "was deleted" in seen["name"][1]


def test_only_a_changed_adapter_on_main_is_a_release(ada: User, client_of: Clients) -> None:
    making.library()
    adapter = {"adapter_config.json": json.dumps(CONFIG), "adapter_model.safetensors": "weights"}
    commits = [{"README.md": "# First"}, adapter, {"README.md": "# Better"}, {"notes.txt": "n"}]

    answers = client_of(ada).call("writing", "commit_each", repo="ada/poetry", commits=commits)

    assert answers == [[200, ""]] * 4
    assert Commit.objects.count() == 5
    release = Release.objects.get()
    newest = Commit.objects.first()
    assert newest is not None
    assert newest != release.commit
    assert newest.examined_as == release


def test_nobody_writes_to_the_adapter_of_another(ada: User, eve: User, client_of: Clients) -> None:
    making.upload(ada, making.library())

    seen = client_of(eve).call("writing", "trespass", repo="ada/poetry")

    assert seen.pop("create")[0] == 200  # a client that finds it readable goes on, so every door asks again
    assert {name: answer[0] for name, answer in seen.items()} == dict.fromkeys(seen, 403)
    assert "belongs to ada" in seen["upload"][1]
    assert Adapter.objects.get().refs.count() == 1


def test_an_adapter_of_no_known_base_is_told_the_choices(ada: User, client_of: Clients) -> None:
    making.library("tiny")
    making.library("small")
    files = {"adapter_config.json": "{}", "adapter_model.safetensors": "weights"}
    named = {**files, "README.md": "---\nfletch_library: small\n---\n"}

    refused, accepted = client_of(ada).call(
        "writing", "commit_each", repo="ada/poetry", commits=[files, named]
    )

    assert refused[0] == 400
    assert "small (tiny), tiny (tiny)" in refused[1]
    assert accepted == [200, ""]
    assert Release.objects.get().library.slug == "small"
