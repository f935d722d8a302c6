"""Uploads and downloads that break off go on; what arrives is what its digest promises; paths stay inside."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from fletch import fetching, hub, sending
from fletch.account import Account
from fletch.exits import CommandError, Exit
from fletch.hub import Hub

CONTENT = bytes(range(256)) * 4096  # 1 MiB: several chunks


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sending, fetching, hub):
        monkeypatch.setattr(module, "FIRST_PAUSE", 0.0)


def speaking_to(handler: Any) -> Hub:
    """A hub whose answers a function makes."""
    found = Hub(Account("http://hub.example.org", "hf_secret"), tries=2)
    found._client = httpx.Client(base_url=found.address, transport=httpx.MockTransport(handler))
    return found


class Breaking:
    """Receives as the hub does, and gives out as the hub does, but breaks off after some bytes a few times."""

    def __init__(self, *, breaks: int) -> None:
        self.came = bytearray()
        self.breaks = breaks
        self.asked: list[str | None] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "PATCH":
            self._receive(request)
        if request.url.path.startswith("/api/v1/uploads/"):
            here = {"received": len(self.came), "complete": len(self.came) == len(CONTENT)}
            return httpx.Response(200, json=here)
        return self._give(request)

    def _receive(self, request: httpx.Request) -> None:
        assert int(request.url.params["offset"]) == len(self.came)
        content = request.read()
        if self._breaks_now():
            self.came += content[: len(content) // 2]
            raise httpx.ReadError("cut")
        self.came += content

    def _give(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.headers.get("Range"))
        begin = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        return httpx.Response(206 if begin else 200, content=self._some(CONTENT[begin:]))

    def _some(self, content: bytes) -> Iterator[bytes]:
        if self._breaks_now():
            yield content[: len(content) // 2]
            raise httpx.ReadError("cut")
        yield content

    def _breaks_now(self) -> bool:
        self.breaks -= 1
        return self.breaks >= 0


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def described(path: str = "adapter_model.safetensors", **changes: object) -> Mapping[str, object]:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    return {"path": path, "size": len(CONTENT), "sha256": sha256, "url": "/a/b/resolve/main/x", **changes}


def test_an_upload_goes_on_from_what_came(tmp_path: Path) -> None:
    there = Breaking(breaks=2)
    (tmp_path / "weights").write_bytes(CONTENT)
    files = sending.digested([("weights", tmp_path / "weights")], lambda *_: None)
    seen: list[int] = []

    sending.send(speaking_to(there), files, lambda done, _total, _note: seen.append(done))

    assert bytes(there.came) == CONTENT
    assert seen[-1] == len(CONTENT)


def test_an_upload_that_keeps_breaking_ends_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(CONTENT)
    files = sending.digested([("weights", tmp_path / "weights")], lambda *_: None)

    with pytest.raises(CommandError) as error:
        sending.send(speaking_to(Breaking(breaks=100)), files, lambda *_: None)

    assert error.value.end is Exit.UNREACHABLE


def test_a_download_goes_on_from_what_came(target: Path) -> None:
    there = Breaking(breaks=2)
    files = fetching.wanted([described()], target)

    fetching.fetch(speaking_to(there), files, lambda *_: None, overwrite=False)

    half, rest = len(CONTENT) // 2, len(CONTENT) // 4
    assert there.asked == [None, f"bytes={half}-", f"bytes={half + rest}-"]
    assert files[0].place.read_bytes() == CONTENT
    assert [path.name for path in target.iterdir()] == ["adapter_model.safetensors"]


def test_other_bytes_than_the_digest_promises_are_not_kept(target: Path) -> None:
    files = fetching.wanted([described(sha256="0" * 64)], target)

    with pytest.raises(CommandError) as error:
        fetching.fetch(speaking_to(Breaking(breaks=0)), files, lambda *_: None, overwrite=False)

    assert error.value.end is Exit.DAMAGED
    assert list(target.iterdir()) == []


def test_a_file_of_ones_own_is_not_replaced_unasked(target: Path) -> None:
    files = fetching.wanted([described()], target)
    target.mkdir()
    files[0].place.write_text("mine")
    there = speaking_to(Breaking(breaks=0))

    with pytest.raises(CommandError, match="--overwrite replaces it"):
        fetching.fetch(there, files, lambda *_: None, overwrite=False)
    fetching.fetch(there, files, lambda *_: None, overwrite=True)

    assert files[0].place.read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\\x", "C:x", "", "link/x"])
def test_a_hub_cannot_write_outside_the_folder(target: Path, path: str) -> None:
    target.mkdir()
    (target / "link").symlink_to(target.parent)

    with pytest.raises(CommandError, match="would not lie in"):
        fetching.wanted([described(path)], target)


@pytest.mark.parametrize("url", ["http://elsewhere.example.org/x", "//elsewhere.example.org/x"])
def test_a_hub_cannot_send_us_elsewhere_with_our_token(target: Path, url: str) -> None:
    files = fetching.wanted([described(url=url)], target)

    with pytest.raises(CommandError, match="which is not on"):
        fetching.fetch(speaking_to(Breaking(breaks=0)), files, lambda *_: None, overwrite=False)
