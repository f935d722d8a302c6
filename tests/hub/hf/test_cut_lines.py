"""The unmodified client on a line that breaks: what has arrived is not sent again."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from hub.accounts.models import User
from hub.adapters.models import Release
from hub.blobs.models import Blob
from hub.hf import describing
from tests.hub import making
from tests.hub.hf.conftest import Clients
from tests.hub.hf.cutting import Line, line_to

CONFIG = {**making.CONFIG, "base_model_name_or_path": "/home/ada/bases/tiny"}
SIZE = 3 * describing.LARGE
CLIENTS_PIECE = 10 * describing.LARGE  # what arrived of the last piece of this size is asked for again
WEIGHTS, TOKENS = random.Random(1).randbytes(SIZE), random.Random(2).randbytes(SIZE)
NO_XET = {"HF_HUB_DISABLE_XET": "1"}


@pytest.fixture
def line(live_server: LiveServer) -> Iterator[Line]:
    with line_to(live_server.url) as line:
        yield line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "adapter"
    place.mkdir()
    (place / "adapter_config.json").write_text(json.dumps(CONFIG))
    (place / "adapter_model.safetensors").write_bytes(WEIGHTS)
    (place / "tokenizer.json").write_bytes(TOKENS)
    return place


def test_a_download_that_is_cut_goes_on_where_it_broke_off(
    ada: User, line: Line, tmp_path: Path, client_of: Clients
) -> None:
    weights = WEIGHTS * 7
    making.ready(ada, making.library(), files={**making.PLAIN, "adapter_model.safetensors": weights})
    client = replace(client_of(None), endpoint=line.url)
    line.down = CLIENTS_PIECE + CLIENTS_PIECE // 2

    done = client.hf(
        "download", "ada/poetry", "adapter_model.safetensors", "--local-dir", str(tmp_path / "there")
    )

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "adapter_model.safetensors").read_bytes() == weights
    assert b"range: bytes=" in bytes(line.asked).lower()
    assert line.received < len(weights) + CLIENTS_PIECE


@pytest.mark.slow  # the client waits half a minute before it gives up
def test_an_upload_that_is_cut_sends_only_what_did_not_arrive(
    ada: User, line: Line, folder: Path, client_of: Clients
) -> None:
    making.library()
    client = replace(client_of(ada), endpoint=line.url, settings=NO_XET)
    line.up, line.stays_cut = SIZE + SIZE // 2, True

    seen = client.call("writing", "upload_one_by_one", repo="ada/poetry", folder=str(folder), fails=True)

    assert seen.startswith("cut: ")
    assert not Release.objects.exists()
    assert Blob.objects.filter(size=SIZE).count() == 1

    line.mend()
    client.call("writing", "upload_one_by_one", repo="ada/poetry", folder=str(folder))

    release = Release.objects.get()
    assert {file.path for file in release.commit.files.all()} >= {path.name for path in folder.iterdir()}
    assert SIZE < line.sent < 1.2 * SIZE
