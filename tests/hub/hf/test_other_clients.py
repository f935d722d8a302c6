"""Older Python clients and the JavaScript one, each from an installation of its own (`make conformance`)."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hub.accounts.models import User
from hub.adapters.models import Adapter
from tests.hub import making
from tests.hub.hf.another_hub import AnotherHub
from tests.hub.hf.conftest import ROOT, Clients
from tests.hub.hf.test_through import there
from tests.hub.hf.test_writing import WEIGHTS, folder

__all__ = ["folder", "there"]
pytestmark = pytest.mark.slow
PLACE = ROOT / "build" / "clients"
VERSIONS = ("1.5.0", "0.36.2")
JAVASCRIPT = Path(__file__).parent / "clients" / "javascript.mjs"


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_python_client_goes_the_whole_way(
    version: str, ada: User, folder: Path, client_of: Clients, tmp_path: Path
) -> None:
    making.library()
    client = replace(client_of(ada), python=PLACE / version / "bin" / "python")

    seen = client.call(
        "any_version", "whole_way", repo="ada/poetry", folder=str(folder), place=str(tmp_path / "copy")
    )

    names = ["adapter_config.json", "adapter_model.safetensors", "notes.txt"]
    assert (seen["version"], seen["user"], seen["created"]) == (version, "ada", "ada/poetry")
    assert seen["sha"]
    assert seen["files"] == sorted(seen["sizes"]) == seen["downloaded"] == names
    assert seen["sizes"]["adapter_model.safetensors"] == len(WEIGHTS)
    assert (tmp_path / "copy" / "adapter_model.safetensors").read_bytes() == WEIGHTS
    assert seen["card"] == (folder / "README.md").read_text()
    assert (seen["there"], seen["not there"]) == ([True] * 3, [False] * 3)
    assert seen["refs"] == [["main", "try"], ["v1"]]
    assert (seen["found"], seen["deleted"]) == (["ada/poetry"], False)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_older_python_client_reads_through_to_another_hub(
    version: str, there: AnotherHub, ada: User, client_of: Clients
) -> None:
    client = replace(client_of(ada), python=PLACE / version / "bin" / "python")

    seen = client.call("any_version", "read", repo="org/base")

    files = {path.name: path.read_bytes() for path in there.folder.iterdir()}
    assert seen["files"] == {name: content.hex()[:64] for name, content in files.items()}
    assert (seen["id"], seen["there"]) == ("org/base", [True, False])


def test_the_javascript_client_goes_the_whole_way(ada: User, folder: Path, client_of: Clients) -> None:
    making.library()
    client = client_of(ada)
    paths = sorted(folder.iterdir())
    script = shutil.copy(JAVASCRIPT, PLACE / "javascript" / JAVASCRIPT.name)

    done = subprocess.run(
        ["node", script, client.endpoint, client.token, "ada/poetry", *map(str, paths)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen["user"] == "ada"
    assert dict(seen["files"]) == {path.name: path.stat().st_size for path in paths}
    assert seen["same"] == [True] * len(paths)
    assert (seen["missing"], seen["deleted"], seen["found"]) == (False, False, ["ada/poetry"])
    assert Adapter.objects.get().deleted_at is not None
