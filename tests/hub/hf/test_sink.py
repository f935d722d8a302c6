"""The sink for Xet uploads: whose chunks they are, for how long, and that no other bytes are kept than were meant."""

import hashlib
import struct
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from hub.accounts.models import User
from hub.blobs.models import Blob
from hub.hf import sink
from hub.hf.models import Brought, Xorb
from hub.operations import garbage
from tests.hub import making
from tests.hub.hf.test_edges import Wire, wire
from tests.hub.hf.test_xorbs import END, RAW, chunk

pytestmark = pytest.mark.django_db
NAME = f"{7:016x}" * 4


def digest(name: str) -> bytes:
    """A hash as Xet writes it down."""
    return struct.pack("<4Q", *(int(name[start : start + 16], 16) for start in range(0, 64, 16)))


def shard(*, sha256: str, size: int = len(RAW), end: int = 1) -> bytes:
    header = digest(NAME) + struct.pack("<4I", 1 << 30, 1, 0, 0)
    segment = digest(NAME) + struct.pack("<4I", 0, size, 0, end)
    return bytes(48) + header + segment + digest(sha256) + bytes(16) + END


class Sender:
    """Somebody who was told where to send files."""

    def __init__(self, of: Wire) -> None:
        told = of.send("GET", "/api/models/ada/poetry/xet-write-token/main").json()
        self.url, self.token = told["casUrl"].removeprefix("http://testserver"), told["accessToken"]

    def post(self, path: str, content: bytes, *, url: str = "") -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        where = (url or self.url) + path
        return Client().generic("POST", where, content, headers=headers)


@pytest.fixture
def sender(ada: User) -> Sender:
    making.library()
    of_ada = wire(ada)
    of_ada.send("POST", "/api/repos/create", {"name": "poetry"})
    return Sender(of_ada)


def test_files_are_put_together_and_compared_with_what_was_declared(sender: Sender) -> None:
    whole = hashlib.sha256(RAW).hexdigest()

    assert sender.post(f"/v1/xorbs/default/{NAME}", chunk(RAW, 0)).json() == {"was_inserted": True}
    assert sender.post("/v1/shards", shard(sha256="0" * 64)).status_code == 400
    assert sender.post("/v1/shards", shard(sha256=whole, size=5)).status_code == 400
    assert sender.post("/v1/shards", shard(sha256=whole, end=2)).status_code == 200
    assert Brought.objects.get().blob_id == whole


def test_chunks_that_were_never_sent_here_are_asked_for_again(sender: Sender) -> None:
    answer = sender.post("/v1/shards", shard(sha256="0" * 64))

    assert answer.status_code == 400
    assert "start the upload again" in answer.json()["error"]


def test_nobody_sends_in_the_name_of_another_or_to_an_old_address(sender: Sender, eve: User) -> None:
    whole = f"/blobs/cas/{eve.pk}/{sink.epoch()}"
    old = sender.url.rpartition("/")[0] + f"/{sink.epoch() - 2}"

    assert sender.post(f"/v1/xorbs/default/{NAME}", chunk(RAW, 0), url=whole).status_code == 401
    assert sender.post(f"/v1/xorbs/default/{NAME}", chunk(RAW, 0), url=old).status_code == 400
    sender.token = "hf_" + "0" * 64
    assert sender.post(f"/v1/xorbs/default/{NAME}", chunk(RAW, 0)).status_code == 401
    assert not Xorb.objects.exists()


def test_a_cut_bundle_is_refused(sender: Sender) -> None:
    assert sender.post(f"/v1/xorbs/default/{NAME}", chunk(RAW, 0)[:-1]).status_code == 400
    assert sender.post(f"/v1/xorbs/default/{NAME}", b"").status_code == 400


def test_bundles_are_kept_as_long_as_clients_count_on_them(sender: Sender) -> None:
    sender.post(f"/v1/xorbs/default/{NAME}", chunk(RAW, 0))

    list(garbage.collect(timedelta()))
    assert Xorb.objects.count() == 1

    Xorb.objects.update(epoch=sink.epoch() - 2)
    list(garbage.collect(timedelta()))
    assert not Xorb.objects.exists()
    assert not Blob.objects.exists()
