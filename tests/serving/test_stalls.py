"""Clients that stand still: who takes nothing of an answer, and whose body does not come."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.routing.published import PublishedLibrary
from tests.serving.lines import Lines
from tests.serving.live import live_server
from workers.serving.journal import Entry, Journal
from workers.serving.metrics import Metrics
from workers.serving.options import Limits
from workers.serving.stalls import LOOKS, Watch, patient, read_body, unread_bytes

SMALL = 4096  # bytes that a kernel keeps for one direction of a connection, or somewhat more
SOON = 0.3  # seconds


@contextmanager
def client_of(url: str, request: bytes) -> Iterator[socket.socket]:
    """Who has sent this, and whose machine takes little that nobody reads."""
    address = urlsplit(url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        client.settimeout(60)
        client.connect((str(address.hostname), address.port or 0))
        client.sendall(request)
        yield client


def posted(body: dict[str, object], name: str) -> bytes:
    content = json.dumps(body).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\nContent-Length: {len(content)}"
    )
    return head.encode() + b"\r\n\r\n" + content


def test_who_takes_nothing_of_a_stream_is_cut_off(published: PublishedLibrary, lines: Lines) -> None:
    published.publish(1)
    body: dict[str, object] = {"model": "tales", "prompt": "gulls", "max_tokens": 120, "n": 8}
    likely: dict[str, object] = {"logprobs": 5, "stream": True, "logit_bias": {}}
    with live_server(published.url, limits=Limits(stalled_seconds=SOON), send_buffer=SMALL) as live:
        live.wait_for_version("tales", 1)
        with client_of(live.url, posted(body | likely, lines.name)) as client:
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            live.wait_until(lines)
            counted = live.get("/metrics").text
            with pytest.raises(ConnectionResetError):
                _ = list(iter(lambda: client.recv(SMALL), b""))
        (line,) = lines()
        engine = live.server.runner.engine
        live.wait_until(lambda: engine.running + engine.waiting == 0)

    assert (line["status"], line["error"], line["answers"]) == (200, "client_stalled", 8)
    assert 'fletch_stalled_clients_total{endpoint="/v1/completions"} 1.0' in counted
    assert "fletch_broken_streams_total{" not in counted


@contextmanager
def served(
    content: bytes, told: list[Entry], metrics: Metrics, *, seconds: float = SOON, takes: float = 0.0
) -> Iterator[str]:
    """An address where everybody gets this content, after so long."""

    async def answer(request: Request) -> Response:
        request.state.entry.route = "/"
        await asyncio.sleep(takes)
        return Response(content)

    app = Starlette(routes=[Route("/", answer)], middleware=[Middleware(Journal, told=[told.append])])
    config = uvicorn.Config(app, log_level="error", lifespan="off", http=patient(seconds, metrics))
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive()


def cut_off(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("fletch_stalled_clients_total", {"endpoint": "/"}) or 0.0


def wait_until_cut_off(metrics: Metrics) -> None:
    deadline = time.monotonic() + 30
    while not cut_off(metrics):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("size", [1_000_000, 60_000])
def test_who_takes_nothing_of_a_whole_answer_is_cut_off(size: int, caplog: pytest.LogCaptureFixture) -> None:
    told, metrics = list[Entry](), Metrics()
    with (
        served(bytes(size), told, metrics) as url,
        client_of(url, b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: unread\r\n\r\n"),
    ):
        wait_until_cut_off(metrics)

    (entry,) = told
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    expected = "unread: the client took nothing more of its answer for 0.3 s and is cut off"
    assert (entry.error, said) == (("client_stalled", []) if size > 2**16 else (None, [expected]))


def test_a_long_answer_comes_whole_to_who_takes_it() -> None:
    told, metrics, content = list[Entry](), Metrics(), bytes(range(250)) * 1000
    with (
        served(content, told, metrics, seconds=60) as url,
        client_of(url, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as client,
    ):
        answer = b"".join(iter(lambda: client.recv(SMALL), b""))

    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-length: 250000" in head.lower()
    assert body == content
    assert cut_off(metrics) == 0


def test_who_takes_a_little_at_each_look_is_waited_for() -> None:
    async def watch(waiting: Iterator[int]) -> list[str]:
        lost, looked = list[str](), list[int]()

        def look() -> int:
            looked.append(next(waiting))
            return looked[-1]

        watched = Watch(look, 0.03, lambda: lost.append("lost"))
        watched.begin()
        while not lost and len(looked) < 3 * LOOKS:  # noqa: ASYNC110 - nobody tells of a look
            await asyncio.sleep(0.001)
        watched.end()
        return lost

    assert asyncio.run(watch(iter(range(1000, 0, -1)))) == []
    assert asyncio.run(watch(iter([1000 - look // (LOOKS - 1) for look in range(1000)]))) == []
    assert asyncio.run(watch(iter([1000] * 1000))) == ["lost"]
    assert asyncio.run(watch(iter([1000, *range(1000, 2000)]))) == ["lost"]


def test_what_the_kernel_keeps_for_a_client_is_unread_too() -> None:
    """A transport hands on a megabyte at once, which a slow reader needs long for."""

    async def send() -> None:
        writers = asyncio.Queue[asyncio.StreamWriter]()
        server = await asyncio.start_server(lambda _, writer: writers.put_nowait(writer), "127.0.0.1", 0)
        reader, closing = await asyncio.open_connection(*server.sockets[0].getsockname(), limit=SMALL)
        writer = await writers.get()
        writer.write(bytes(8_000_000))
        buffered = writer.transport.get_write_buffer_size()
        assert unread_bytes(writer.transport) > buffered
        await reader.readexactly(8_000_000)
        deadline = time.monotonic() + 30
        while unread_bytes(writer.transport):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        for one in (writer, closing):
            one.close()
        server.close()
        assert unread_bytes(writer.transport) == 0

    asyncio.run(send())


def test_whose_body_does_not_come_is_told_so(published: PublishedLibrary) -> None:
    published.publish(1)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n"
    with (
        live_server(published.url, limits=Limits(stalled_seconds=SOON)) as live,
        client_of(live.url, head + b'{"model"') as client,
    ):
        answer = b"".join(iter(lambda: client.recv(SMALL), b""))  # to its end: the connection is closed

    head, _, body = answer.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert head.startswith(b"HTTP/1.1 408")
    assert error["code"] == "request_timeout"
    assert (
        "found 8 bytes of the body when its time was over, expected all of them within 0.3 s"
        in error["message"]
    )


HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def hear(client: socket.socket) -> None:
    """Read an answer to its end."""
    answer = b""
    while not answer.endswith(b"here"):
        answer += client.recv(SMALL) or pytest.fail(f"closed after {answer!r}")


def until_closed(client: socket.socket) -> bytes:
    return b"".join(iter(lambda: client.recv(SMALL), b""))


@pytest.mark.parametrize("sent", [b"", HEAD[:20]], ids=["nothing", "a part"])
def test_who_sends_no_whole_head_of_a_request_is_cut_off(sent: bytes) -> None:
    with served(b"here", [], Metrics()) as url, client_of(url, sent) as client:
        assert until_closed(client) == b""


def test_behind_an_answer_a_part_of_the_next_head_is_not_waited_for_either() -> None:
    with served(b"here", [], Metrics()) as url, client_of(url, HEAD) as client:
        hear(client)
        client.sendall(HEAD[:20])

        assert until_closed(client) == b""


def test_nor_is_the_rest_of_a_body_that_was_answered_unread() -> None:
    posting = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    with served(b"here", [], Metrics()) as url, client_of(url, posting) as client:
        hear(client)
        client.sendall(b"a little")

        assert until_closed(client) == b""


def test_bytes_of_a_head_that_come_one_by_one_win_no_time() -> None:
    with served(b"here", [], Metrics()) as url, client_of(url, b"GET /") as client:
        sent = 0
        with suppress(ConnectionError):
            while sent < 3000:  # less than the longest head that is read
                client.sendall(b"a")
                sent += 1
                time.sleep(SOON / 20)

    assert 0 < sent < 3000


def test_whose_head_is_whole_is_waited_for_however_long_the_answer_takes() -> None:
    told = list[Entry]()
    with (
        served(b"here", told, Metrics(), takes=3 * SOON) as url,
        client_of(url, HEAD[:20]) as client,
    ):
        client.sendall(HEAD[20:])
        hear(client)
        client.sendall(HEAD)
        hear(client)

    assert [entry.error for entry in told] == [None, None]


def test_a_body_that_comes_slowly_has_the_time_that_its_size_takes() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(64 * 1024)  # good for a minute
            await asyncio.sleep(0.05)

    request: Any = SimpleNamespace(stream=chunks)

    assert len(asyncio.run(read_body(request, Limits(stalled_seconds=0.04)))) == 3 * 64 * 1024
