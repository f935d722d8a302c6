"""The client of somebody else, kept from giving the token away, from our network, and from never ending."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from hub.outbound import Refused, Unreachable
from tests.workers.at_once import pushed_at_once
from tests.workers.taking_hub import COMMIT, Answer, TakingHub, taking_hub
from workers import exporting, outgoing
from workers.exporting import pushed
from workers.outgoing import Outgoing
from workers.pushing import Order, Sent
from workers.sandbox import MIB

TOKEN = "hf_very_secret_indeed"
LARGE = b"w" * 2_000_000
INFO, COMMIT_AT = "/api/models/eve/verses", "/api/models/eve/verses/commit/main"


@pytest.fixture
def there() -> Iterator[TakingHub]:
    with taking_hub() as hub:
        yield hub


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    place = tmp_path / "scratch"
    place.mkdir()
    return place


@pytest.fixture
def order(there: TakingHub, tmp_path: Path) -> Order:
    """Two files for eve/verses."""
    files = {}
    for path, content in {"adapter_model.safetensors": LARGE, "README.md": b"# Hi\n"}.items():
        (tmp_path / path).write_bytes(content)
        files[path] = Sent(str(tmp_path / path), hashlib.sha256(content).hexdigest(), len(content))
    return Order(
        endpoint=there.address,
        repo="eve/verses",
        closed="",
        files=files,
        gone=(),
        summary="Release 1",
        description="",
        seconds=60.0,
        token=TOKEN,
    )


def push(order: Order, scratch: Path) -> tuple[str, list[tuple[int, int]]]:
    """In a process of its own."""
    seen: list[tuple[int, int]] = []
    return pushed(order, scratch, lambda done, total, _note: seen.append((done, total))), seen


def refusal(order: Order, scratch: Path) -> str:
    with pytest.raises(Refused) as caught:
        pushed_at_once(order, scratch, lambda *_: None)
    return str(caught.value)


def test_a_push_sends_the_token_to_the_hub_and_says_how_far_it_is(
    there: TakingHub, order: Order, scratch: Path
) -> None:
    commit, seen = push(order, scratch)

    assert commit == COMMIT
    assert there.sent() == {order.files["adapter_model.safetensors"].sha256: True}
    assert seen[-1] == (order.size, order.size)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert all(heard.has_token for heard in there.heard if heard.method == "POST")


def test_no_other_address_gets_the_token_or_is_in_our_network(
    there: TakingHub, order: Order, scratch: Path
) -> None:
    with taking_hub() as inner:
        there.puts = inner.address
        said = refusal(order, scratch)
        assert "without https" in said
        there.puts, there.verify = "", f"{inner.address}/latest/meta-data"
        assert "without https" in refusal(order, scratch)
        there.verify = inner.address.replace("http://", "https://") + "/latest"
        assert "127.0.0.1, which is not a public address" in refusal(order, scratch)
        assert inner.heard == []


def test_a_token_and_a_cookie_leave_for_the_endpoint_and_for_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[httpx2.Request] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    monkeypatch.setattr(outgoing, "Checked", lambda *_, **__: httpx2.MockTransport(note))
    transport = Outgoing("https://hub.example", seconds=5.0, sent=lambda _size: None)
    secrets = {"Authorization": f"Bearer {TOKEN}", "Cookie": "a=b"}

    with outgoing.client(transport) as client:
        for address in ("https://hub.example/x", "https://bucket.example/x", "https://hub.example:8443/x"):
            client.put(address, headers=secrets, content=b"abc")

    kept = ["authorization" in request.headers or "cookie" in request.headers for request in seen]
    assert kept == [True, False, False]


@pytest.mark.parametrize("path", [INFO, COMMIT_AT, "/api/repos/create"])
def test_no_redirect_is_followed(there: TakingHub, order: Order, scratch: Path, path: str) -> None:
    with taking_hub() as inner:
        there.instead[path] = Answer(307, headers={"Location": f"{inner.address}/here"})
        assert f"sends {path} on to {inner.address}/here" in refusal(order, scratch)
        assert inner.heard == []


def test_an_answer_without_end_and_one_that_is_encoded_are_not_read(
    there: TakingHub, order: Order, scratch: Path
) -> None:
    there.instead[INFO] = Answer(body=b" " * (5 * 1024 * 1024))
    assert "more than 4,194,304 bytes" in refusal(order, scratch)

    there.instead[INFO] = Answer(body=b"x", headers={"Content-Encoding": "gzip"})
    assert "encoded, which was not asked for" in refusal(order, scratch)


def test_a_hub_that_repeats_the_token_does_not_make_us_repeat_it(
    there: TakingHub, order: Order, scratch: Path
) -> None:
    answer = Answer(400, headers={"X-Error-Message": f"bad token {TOKEN}"})
    there.instead[COMMIT_AT] = answer

    said = refusal(order, scratch)

    assert "bad token <token>" in said
    assert TOKEN not in said
    assert TOKEN not in repr(order)


def test_a_hub_that_always_wants_it_again_is_left_in_time(
    there: TakingHub, order: Order, scratch: Path
) -> None:
    busy = b"Cannot create repo: another conflicting operation is in progress"
    there.instead["/api/repos/create"] = Answer(409, busy)
    began = time.monotonic()

    said = refusal(replace(order, seconds=0.5), scratch)

    assert "takes longer than an export may take" in said
    assert time.monotonic() - began < 30


def test_a_hub_that_takes_less_than_it_was_sent_is_found_out(
    there: TakingHub, order: Order, scratch: Path
) -> None:
    listed = Answer(body=b'{"id": "eve/verses", "siblings": [{"rfilename": "README.md"}]}')
    there.instead[f"{INFO}/revision/{COMMIT}"] = listed

    assert "without adapter_model.safetensors" in refusal(order, scratch)


def test_what_is_no_hub_is_said_so_and_one_that_is_down_may_be_asked_again(
    there: TakingHub, order: Order, scratch: Path
) -> None:
    there.instead["/api/repos/create"] = Answer(body=b"<h1>Welcome</h1>")
    assert "does not take it" in refusal(order, scratch)

    there.instead["/api/repos/create"] = Answer(503)
    with pytest.raises(Unreachable, match="answers 503"):
        push(order, scratch)
    with pytest.raises(Unreachable, match="cannot be reached"):
        pushed_at_once(replace(order, endpoint="http://127.0.0.1:9"), scratch, lambda *_: None)


def test_bytes_that_are_not_what_was_received_are_never_sent(
    there: TakingHub, order: Order, scratch: Path
) -> None:
    file = order.files["adapter_model.safetensors"]
    Path(file.place).write_bytes(LARGE[:-1] + b"x")

    with pytest.raises(RuntimeError, match=f"blob {file.sha256} has the bytes of"):
        pushed_at_once(order, scratch, lambda *_: None)

    assert there.heard == []


def test_a_large_file_that_is_wanted_in_one_piece_does_not_take_our_memory(
    there: TakingHub, order: Order, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "LIMITS", replace(exporting.LIMITS, memory=400 * MIB))
    there.mode = "regular"
    place = Path(order.files["adapter_model.safetensors"].place)
    with place.open("wb") as file:
        file.truncate(120 * MIB)
    with place.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    files = {"adapter_model.safetensors": Sent(str(place), digest, 120 * MIB)}

    with pytest.raises(Refused, match="asks for a large file in one piece"):
        push(replace(order, files=files), scratch)
